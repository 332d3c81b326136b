"""Keeping a home within its size: work files may go, reports never do."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Set
from pathlib import Path

from rnp_core.errors import JobError
from rnp_core.jobs.home import Home
from rnp_core.jobs.types import GIB, EngineLimits

MEASURE_SECONDS = 30.0
"""How long a measured size counts: walking a home of many thousand scans takes seconds."""


class Quota:
    """Watches over the size of a home.

    Args:
        busy: ids of the jobs that run; their work files stay.
    """

    def __init__(self, home: Home, limits: EngineLimits, *, busy: Callable[[], Set[str]]) -> None:
        self._home = home
        self._limits = limits
        self._busy = busy
        self._size = 0
        self._measured = -MEASURE_SECONDS
        self._lock = threading.Lock()

    def tidy(self) -> None:
        """Remove work files of jobs that do not run, oldest first, until the home fits."""
        with self._lock:
            if time.monotonic() - self._measured >= MEASURE_SECONDS:
                self._size = _size(self._home.root)
                self._measured = time.monotonic()
            if self._fits():
                return
            with contextlib.suppress(OSError):
                for folder in sorted(self._home.work.iterdir(), key=_age):
                    if self._fits():
                        return
                    if folder.name not in self._busy():
                        self._size -= _size(folder)
                        shutil.rmtree(folder, ignore_errors=True)

    def check(self) -> None:
        """Make room for one more job.

        Raises:
            JobError: when there is none, with what to do.
        """
        self.tidy()
        limits, free = self._limits, self._home.free_bytes()
        if self._size > limits.disk_bytes:
            self._measured = -MEASURE_SECONDS  # people make room now: look again next time
            raise JobError(
                f"the jobs in {self._home.root} take {self._size / GIB:.1f} GiB and may take "
                f"{limits.disk_bytes / GIB:.1f}; delete scans, or raise the limit disk_bytes"
            )
        if free < limits.free_bytes:
            raise JobError(
                f"the disk of {self._home.root} is nearly full: {free / GIB:.2f} GiB are left and "
                f"a scan needs {limits.free_bytes / GIB:.2f}; free some space"
            )

    def _fits(self) -> bool:
        limits = self._limits
        return self._size <= limits.disk_bytes and self._home.free_bytes() >= limits.free_bytes


def _size(folder: Path) -> int:
    """Bytes of the files below; what vanishes meanwhile does not count."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118 (speed)
    return total


def _age(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
