"""Tasks that go wrong in every way a child process can."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnp_core import errors
from rnp_core.isolation.confine import Protection
from rnp_core.progress import OnProgress, Progress

Payload = Mapping[str, Any]
Result = dict[str, Any]


def echo(payload: Payload, on_progress: OnProgress, protection: Protection) -> Result:
    """Two steps of progress, and the payload back."""
    on_progress(Progress("echo", 1, 2, "half", {"loss": 0.5, "shares": [0.25, 0.75]}))
    on_progress(Progress("echo", 2, 2))
    return dict(payload)


def crash(payload: Payload, on_progress: OnProgress, protection: Protection) -> Result:
    os.kill(os.getpid(), payload["signal"])
    time.sleep(30)
    return {}


def leave(payload: Payload, on_progress: OnProgress, protection: Protection) -> Result:
    os.write(2, payload.get("last words", "").encode())
    os._exit(payload["code"])


def fail(payload: Payload, on_progress: OnProgress, protection: Protection) -> Result:
    raise getattr(errors, payload["class"])(payload["message"])


def bug(payload: Payload, on_progress: OnProgress, protection: Protection) -> Result:
    return {"missing": payload["no such key"]}


def hang(payload: Payload, on_progress: OnProgress, protection: Protection) -> Result:
    """Deaf to SIGTERM, with a child of its own; tells both process ids."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    on_progress(Progress("hang", 0, 1, json.dumps([os.getpid(), grandchild.pid])))
    if "flag" in payload:
        Path(payload["flag"]).write_text(json.dumps([os.getpid(), grandchild.pid]))
    time.sleep(60)
    return {}


def hog(payload: Payload, on_progress: OnProgress, protection: Protection) -> Result:
    """Fills private memory in the way asked for."""
    if payload["how"] == "torch":
        import torch

        kept: list[Any] = [torch.ones(64 << 20)]
        while True:
            kept.append(torch.ones(64 << 20))
    if payload["how"] == "shared":
        import mmap

        kept = []
        while True:
            kept.append(mmap.mmap(-1, 64 << 20))
            kept[-1].write(b"x" * (64 << 20))
    kept = []
    while True:
        kept.append(bytearray(64 << 20))


def garbage(payload: Payload, on_progress: OnProgress, protection: Protection) -> Result:
    """Writes what is given to the pipe of events."""
    data = bytes.fromhex(payload["hex"])
    while data:
        data = data[os.write(int(sys.argv[1]), data) :]
    if payload.get("close"):
        os.close(int(sys.argv[1]))
    time.sleep(30)
    return {}


def flood(payload: Payload, on_progress: OnProgress, protection: Protection) -> Result:
    while True:
        on_progress(Progress("flood", 0, 1, "x" * 3000))


def chatter(payload: Payload, on_progress: OnProgress, protection: Protection) -> Result:
    """More standard output and error than a pipe holds."""
    for _ in range(200):
        sys.stdout.write("out " * 500)
        sys.stderr.write("err " * 500)
    sys.stdout.flush()
    return {}


def surroundings(payload: Payload, on_progress: OnProgress, protection: Protection) -> Result:
    """What the child finds around it."""
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(b"left behind")
    import resource

    folder = Path(tempfile.gettempdir())
    return {
        "temporary": str(folder),
        "mode": stat.S_IMODE(folder.stat().st_mode),
        "left": file.name,
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "working": str(Path.cwd()),
        "input": sys.stdin.read(),
        "leader": os.getsid(0) == os.getpid() == os.getpgid(0),
        "status": Path("/proc/self/status").read_text() if sys.platform == "linux" else "",
    }


def connect(payload: Payload, on_progress: OnProgress, protection: Protection) -> Result:
    """Tries to reach the parent's server over IPv4 and IPv6, TCP and UDP."""
    answers = {}
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try:
                with socket.socket(family, kind) as end:
                    end.settimeout(2)
                    end.connect((host, payload["port"]))
                    end.send(b"hello")
                answer = "reached"
            except OSError as error:
                answer = f"refused: {error.strerror}"
            answers[f"{family.name} {kind.name}"] = answer
    with socket.socket(socket.AF_UNIX) as end:
        answers["local"] = "made" if end.fileno() >= 0 else "refused"
    return answers
