"""What this machine, or the container on it, has to give."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """CPU threads that this process may use: the least of ``OMP_NUM_THREADS``, its affinity and the
    CPU time of its container."""
    counts = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):  # "max 100000", or microseconds in a period
        quota, period = (_CGROUP / "cpu.max").read_text(encoding="ascii").split()
        counts.append(max(1, int(quota) // int(period)))
    with contextlib.suppress(KeyError, ValueError):
        counts.append(max(1, int(os.environ["OMP_NUM_THREADS"])))
    return min(counts)


def usable_memory() -> int:
    """Bytes of memory of the machine, or of the container where that has less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int((_CGROUP / "memory.max").read_text(encoding="ascii")))
    return total
