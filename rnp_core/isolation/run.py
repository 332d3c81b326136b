"""Running one task in a confined child process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rnp_core.errors import IsolationError, ScanCancelled, allocation_failed
from rnp_core.isolation.limits import GIB, SCAN_LIMITS, IsolationLimits
from rnp_core.isolation.messages import LINE_BYTES, Failed, Finished, Message, Started, decode
from rnp_core.isolation.process import ChildProcess
from rnp_core.progress import OnProgress, ignore_progress

POLL_SECONDS = 0.1
"""Longest time between two looks at ``cancelled``, the clock and the memory."""

_EXIT_SECONDS = 5.0  # for the child to end by itself once it has no more to say


def run_isolated(
    task: str,
    payload: Mapping[str, Any],
    *,
    limits: IsolationLimits = SCAN_LIMITS,
    on_progress: OnProgress = ignore_progress,
    cancelled: Callable[[], bool] | None = None,
    on_start: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Run ``task`` in a child process of its own and wait for its result.

    The child has no network where the system allows that, bounded memory and time, no core dumps,
    and a private temporary folder. It never outlives this call, nor this process. May be called
    from any thread; several calls may run at once. This process imports no torch for it.

    Args:
        task: ``"scan"`` (payload: ``ScanRequest.to_dict()``; writes the run folder),
            ``"inspect"`` (payload: ``{"path": ...}``), or ``"MODULE:FUNCTION"``, a function of
            ``(payload, on_progress, protection)`` that returns a dictionary of JSON values.
            Relative paths in a payload start at this process's working folder.
        payload: JSON values.
        limits: bounds on the child.
        on_progress: called in this thread with every progress report of the child. Any exception
            from it, :class:`ScanCancelled` above all, ends the child and comes out.
        cancelled: asked at least every :data:`POLL_SECONDS`; once it says True, the child is ended.
        on_start: called once with the child's process id, which is also its process group's id.

    Returns:
        The task's dictionary, with a key ``"isolation"``: how the child was confined, for example
        ``{"network": "blocked", "network_by": ["namespace", "filter"], ...}``; see
        :class:`rnp_core.isolation.confine.Protection`.

    Raises:
        ScanCancelled: when ``cancelled`` said so; the child and all it started are gone by then.
        IsolationError: when the child crashed, ran out of memory or time, or sent nonsense; its
            ``reason`` says which.
        RnpError: an expected error of the task, with its own class and message.
    """
    if os.name != "posix":
        raise IsolationError(
            "isolation needs Linux, macOS or another POSIX system; on Windows use WSL",
            reason="start",
        )
    from rnp_core.isolation.folder import private_folder

    request = {
        "task": task,
        "payload": dict(payload),
        "memory_bytes": limits.memory_bytes,
        "parent": os.getpid(),
        "folder": str(Path.cwd()),
    }
    with private_folder() as folder:
        child = ChildProcess(request, folder)
        try:
            if on_start is not None:
                on_start(child.pid)
            return _follow(child, limits, on_progress, cancelled)
        finally:
            child.close()


def _follow(
    child: ChildProcess,
    limits: IsolationLimits,
    on_progress: OnProgress,
    cancelled: Callable[[], bool] | None,
) -> dict[str, Any]:
    end = time.monotonic() + limits.seconds
    protection: dict[str, Any] = {}
    unfinished = bytearray()
    while True:
        if cancelled is not None and cancelled():
            raise ScanCancelled("cancelled")
        if time.monotonic() > end:
            raise _error(
                child,
                f"the time limit of {limits.seconds:g} s was reached before there was a result; "
                "raise it, or use fewer images or a quicker preset",
                "time",
            )
        if child.memory() > limits.memory_bytes:
            raise _out_of_memory(child, limits)
        data = child.read(min(POLL_SECONDS, max(0.0, end - time.monotonic())))
        if data is None:
            raise _death(child, limits)
        unfinished += data
        if len(unfinished) > LINE_BYTES:
            raise _error(child, "the child process sent a message without end", "protocol")
        if b"\n" not in data:
            continue
        *lines, unfinished = unfinished.split(b"\n")
        for message in (_message(child, line) for line in lines):
            if isinstance(message, Finished):
                child.wait(_EXIT_SECONDS)
                return {**message.value, "isolation": protection}
            if isinstance(message, Failed):
                if isinstance(message.error, IsolationError):
                    message.error.detail = child.detail
                raise message.error
            if isinstance(message, Started):
                protection = message.protection
            else:
                on_progress(message)


def _message(child: ChildProcess, line: bytes | bytearray) -> Message:
    try:
        return decode(line)
    except ValueError as error:
        text = f"the child process sent something that is no message ({type(error).__name__})"
        raise _error(child, text, "protocol") from error


def _death(child: ChildProcess, limits: IsolationLimits) -> IsolationError:
    """Why a child ended, or closed its pipe, without a result."""
    code = child.wait(_EXIT_SECONDS)
    if code is None:
        return _error(child, "the child process closed its pipe without a result", "protocol")
    if code == -signal.SIGKILL:
        return _error(
            child,
            "the child process was killed by the system, most likely because memory ran out",
            "memory",
        )
    if code != 0 and allocation_failed(child.detail):
        return _out_of_memory(child, limits)
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return _error(child, f"the child process crashed ({name}); nothing was written", "crash")
    return _error(child, f"the child process ended without a result (exit code {code})", "crash")


def _out_of_memory(child: ChildProcess, limits: IsolationLimits) -> IsolationError:
    return _error(
        child,
        f"the memory limit of {limits.memory_bytes / GIB:g} GiB was reached; raise it, or use "
        "fewer or smaller images",
        "memory",
    )


def _error(child: ChildProcess, message: str, reason: Any) -> IsolationError:
    return IsolationError(message, reason=reason, detail=child.detail)
