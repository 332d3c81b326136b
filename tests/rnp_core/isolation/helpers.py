"""Starting the tasks of :mod:`tests.rnp_core.isolation.tasks`, and looking at processes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from rnp_core.isolation import IsolationLimits, run_isolated

QUICK = IsolationLimits(memory_bytes=2 << 30, seconds=20)


def start(task: str, payload: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    options.setdefault("limits", QUICK)
    return run_isolated(f"{__package__}.tasks:{task}", payload or {}, **options)


def gone(pid: int, *, seconds: float = 2.0) -> bool:
    """Whether the process ends within ``seconds``; one that only waits to be reaped has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def appears(path: Path, *, seconds: float = 20.0) -> bool:
    """Whether a file with content appears within ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if path.is_file() and path.stat().st_size:
            return True
        time.sleep(0.02)
    return False
