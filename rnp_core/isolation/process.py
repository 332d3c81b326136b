"""One child process: its pipes, its memory, and its end with everything that it started."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnp_core.errors import IsolationError

GRACE_SECONDS = 0.4
"""Between asking the child to stop and killing it."""

_MODULE = "rnp_core.isolation.child"
_BLOCK = 1 << 16
_DETAIL = 8000
_COUNTED = re.compile(r"^(?:RssAnon|RssShmem):\s+(\d+) kB$", re.MULTILINE)


class ChildProcess:
    """A running child, in a session of its own.

    Its standard input brings the request and stays open: the child ends itself when it closes.
    Events come through a pipe of their own; standard output and error are kept for ``detail``.
    """

    def __init__(self, request: Mapping[str, Any], folder: Path) -> None:
        """Start it in the private ``folder``.

        Raises:
            IsolationError: when the process cannot be started.
        """
        self._events, events_end = os.pipe()
        environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": _import_path()}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULE, str(events_end)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(events_end,),
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            os.close(self._events)
            raise IsolationError(
                f"cannot start a child process: {error.strerror}", reason="start"
            ) from error
        finally:
            os.close(events_end)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        for end in (self._events, self._input, self._output):
            os.set_blocking(end, False)
        self._unsent = json.dumps(request).encode() + b"\n"
        self._said = b""
        self._ended = False

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its session and group."""
        return self._process.pid

    @property
    def detail(self) -> str:
        """The end of what it wrote to standard output and error; untrusted text."""
        return self._said.decode("utf-8", "replace")

    def read(self, seconds: float) -> bytes | None:
        """Bytes of events after waiting at most ``seconds``; None when there will be no more."""
        writes = [self._input] if self._unsent else []
        ready = select.poll()
        for end in (self._events, self._output):
            ready.register(end, select.POLLIN)
        for end in writes:
            ready.register(end, select.POLLOUT)
        found = {end for end, _ in ready.poll(1000 * seconds)}
        if self._input in found:
            self._send()
        if self._output in found and not self._listen():
            time.sleep(0.01)  # closed by the child: always ready, so do not spin
        return _take(self._events) if self._events in found else b""

    def memory(self) -> int:
        """Private and shared memory in use, in bytes; 0 where the system does not tell."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return 0
        return 1024 * sum(int(size) for size in _COUNTED.findall(status))

    def wait(self, seconds: float) -> int | None:
        """Exit code, or minus the signal that ended it; None when it still runs."""
        end = time.monotonic() + seconds
        while not self._is_over() and time.monotonic() < end:
            time.sleep(0.005)
        if not self._is_over():
            return None
        self._listen()
        return self._reap()

    def stop(self) -> None:
        """End it and everything in its group, within about half a second."""
        if self._ended:
            return
        self._signal(signal.SIGTERM)
        if self.wait(GRACE_SECONDS) is None:
            self._reap()

    def close(self) -> None:
        """End it if it runs, and close the pipes."""
        self.stop()
        os.close(self._events)
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def _is_over(self) -> bool:
        """Whether it ended, without reaping it: its group id stays taken until then."""
        if self._ended:
            return True
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self._process.poll() is not None
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, options) is not None

    def _reap(self) -> int:
        if not self._ended:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._ended = True
        return self._process.returncode

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._input, self._unsent[:_BLOCK]) :]
        except BlockingIOError:
            return
        except OSError:  # it is gone; its exit says more
            self._unsent = b""

    def _listen(self) -> bool:
        """Keep the end of what it says; False when it closed that pipe."""
        said = _take(self._output)
        if said is None:
            return False
        self._said = (self._said + said)[-_DETAIL:]
        return True


def _take(end: int) -> bytes | None:
    """What is in a pipe, at most a block; None when it is closed."""
    try:
        return os.read(end, _BLOCK) or None
    except BlockingIOError:
        return b""


def _import_path() -> str:
    """This process's import path, so that the child finds the same modules."""
    return os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
