"""``python -m rnp_core.isolation.child FD``: the child process of :func:`.run.run_isolated`.

It reads a request from standard input, confines itself, runs the task, and writes messages to the
file descriptor FD. When standard input closes, the parent is gone, and it ends its whole group.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rnp_core.isolation.confine import confine
from rnp_core.isolation.messages import encode, encode_error, encode_progress
from rnp_core.isolation.tasks import find_task


def main() -> NoReturn:
    """Serve one request; never returns."""
    events = int(sys.argv[1])
    os.set_inheritable(events, False)
    request, lifeline = _request()
    protection = confine(memory_bytes=request["memory_bytes"], parent=request["parent"])
    faulthandler.enable()
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()
    _write(events, encode("started", {"protection": protection.to_dict()}))
    sys.path = [entry for entry in sys.path if entry != str(Path.cwd())]  # the private folder
    try:
        os.chdir(request["folder"])
        task = find_task(request["task"])
        value = task(
            request["payload"],
            lambda progress: _write(events, encode_progress(progress)),
            protection,
        )
        answer = encode("result", {"value": value})
    except Exception as error:  # every failure becomes one message
        answer = encode_error(error)
    _write(events, answer)
    os._exit(0)  # nothing of the task is left to be cleaned up; the parent removes its folder


def _request() -> tuple[dict[str, Any], int]:
    """The request, and the descriptor that closes with the parent; tasks see an empty input."""
    data = b""
    while not data.endswith(b"\n"):
        block = os.read(0, 1 << 16)
        if not block:
            os._exit(1)
        data += block
    lifeline = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return json.loads(data), lifeline


def _watch(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """On SIGTERM: unwind, so that half-written files are removed; the parent waits briefly."""
    raise SystemExit(128 + number)


def _write(events: int, data: bytes) -> None:
    while data:
        data = data[os.write(events, data) :]


if __name__ == "__main__":
    main()
