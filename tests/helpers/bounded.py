"""Running a function in a forked child, with its peak memory and time measured and bounded."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What the child gave back.

    Attributes:
        value: JSON value that the function returned; None when the child died.
        seconds: wall time of the function.
        peak_mib: growth of the resident memory above that of the start, in MiB.
        signal: number of the signal that ended the child, or 0.
    """

    value: Any
    seconds: float
    peak_mib: float
    signal: int


def run_bounded(
    function: Callable[[], Any], *, seconds: float = 60.0, memory_mib: int = 2048
) -> Outcome:
    """Run ``function`` in a forked child; it returns a JSON value.

    The child is killed after ``seconds``. Its address space may grow by ``memory_mib``.
    """
    read_end, write_end = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _child(function, write_end, memory_mib)
    os.close(write_end)
    data = b""
    while True:
        remaining = started + seconds - time.monotonic()
        if remaining <= 0 or not select.select([read_end], [], [], remaining)[0]:
            os.kill(child, signal.SIGKILL)
            break
        block = os.read(read_end, 1 << 16)
        if not block:
            break
        data += block
    os.close(read_end)
    _, status = os.waitpid(child, 0)
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if not data:
        return Outcome(None, time.monotonic() - started, float("nan"), ended_by)
    answer = json.loads(data)
    return Outcome(answer["value"], answer["seconds"], answer["peak_mib"], ended_by)


def _child(function: Callable[[], Any], write_end: int, memory_mib: int) -> None:
    code = 1
    try:
        limit = _status("VmSize") * 1024 + memory_mib * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        before = _status("VmRSS")
        start = time.monotonic()
        value = function()
        seconds = time.monotonic() - start
        peak = max(_status("VmHWM") - before, 0) / 1024
        answer = json.dumps({"value": value, "seconds": seconds, "peak_mib": peak})
        os.write(write_end, answer.encode())
        code = 0
    finally:
        os._exit(code)


def _status(field: str) -> int:
    """A memory figure of this process, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0
