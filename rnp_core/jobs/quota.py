"""Keeping a home within its size: work files may go, reports never do."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from rnp_core.errors import JobError
from rnp_core.jobs.home import Home
from rnp_core.jobs.types import GIB, EngineLimits


def tidy(home: Home, *, busy: set[str], limits: EngineLimits) -> int:
    """Remove work files of jobs that do not run, oldest first, until the home fits.

    Args:
        busy: ids of running jobs; their work files stay.

    Returns:
        Bytes in the home afterwards.
    """
    size = _size(home.root)
    if size <= limits.disk_bytes and home.free_bytes() >= limits.free_bytes:
        return size
    with contextlib.suppress(OSError):
        idle = [folder for folder in home.work.iterdir() if folder.name not in busy]
        for folder in sorted(idle, key=_age):
            if size <= limits.disk_bytes and home.free_bytes() >= limits.free_bytes:
                break
            size -= _size(folder)
            shutil.rmtree(folder, ignore_errors=True)
    return size


def check_space(home: Home, *, busy: set[str], limits: EngineLimits) -> None:
    """Make room for one more job.

    Raises:
        JobError: when there is none, with what to do.
    """
    size = tidy(home, busy=busy, limits=limits)
    if size > limits.disk_bytes:
        raise JobError(
            f"the jobs in {home.root} take {size / GIB:.1f} GiB and may take "
            f"{limits.disk_bytes / GIB:.1f}; delete scans, or raise the limit disk_bytes"
        )
    free = home.free_bytes()
    if free < limits.free_bytes:
        raise JobError(
            f"the disk of {home.root} is nearly full: {free / GIB:.2f} GiB are left and a scan "
            f"needs {limits.free_bytes / GIB:.2f}; free some space"
        )


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
