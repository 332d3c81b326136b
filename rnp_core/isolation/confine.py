"""Giving up rights: what a child does to itself before it touches an untrusted file."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rnp_core.isolation.network import block_network

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


@dataclass(frozen=True)
class Protection:
    """How a child is confined; an honest record for reports.

    Attributes:
        network: ``"blocked"`` or ``"not blocked"``.
        network_by: ``"namespace"``, ``"filter"``, both or neither, see :mod:`.network`.
        memory_limit_bytes: bound on private memory.
        memory_enforced: whether the kernel enforces it (Linux).
        no_new_privileges: whether set-user-id programs have no effect.
        dies_with_parent: whether the kernel ends the child when the parent dies; elsewhere the
            child watches for that itself.
    """

    network: str
    network_by: tuple[str, ...]
    memory_limit_bytes: int
    memory_enforced: bool
    no_new_privileges: bool
    dies_with_parent: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "network_by": list(self.network_by)}


def confine(*, memory_bytes: int, parent: int) -> Protection:
    """Confine this process for good; call it first and while there is a single thread.

    ``RLIMIT_DATA`` bounds the memory, not ``RLIMIT_AS``: torch and CUDA reserve far more address
    space than they use.

    Args:
        memory_bytes: bound on private memory.
        parent: process id of the parent; when it has died already, this process ends.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    linux = sys.platform.startswith("linux")
    dies = linux and _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    no_new_privileges = linux and _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    with contextlib.suppress(OSError):  # the system's memory killer takes this process first
        Path("/proc/self/oom_score_adj").write_text("1000")
    means = block_network()
    return Protection(
        network="blocked" if means else "not blocked",
        network_by=means,
        memory_limit_bytes=memory_bytes,
        memory_enforced=_limit_memory(memory_bytes) and linux,
        no_new_privileges=no_new_privileges,
        dies_with_parent=dies,
    )


def _prctl(option: int, value: int) -> bool:
    return ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0


def _limit_memory(memory_bytes: int) -> bool:
    """Lower the limit; one that is lower already stays."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        memory_bytes = min(memory_bytes, hard)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    except (OSError, ValueError):
        return False
    return True
