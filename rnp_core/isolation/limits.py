"""What a child process may use."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rnp_core.errors import ConfigError

GIB = 1 << 30
LEAST_MEMORY = GIB
"""Below this, torch itself does not load."""


@dataclass(frozen=True)
class IsolationLimits:
    """Bounds on one child process; beyond them it is ended.

    Attributes:
        memory_bytes: private memory (heap, stacks, anonymous mappings), not counting the files of
            libraries; at least :data:`LEAST_MEMORY`.
        seconds: wall-clock time from the start to the result.
    """

    memory_bytes: int = 16 * GIB
    seconds: float = 6 * 3600.0

    def __post_init__(self) -> None:
        if self.memory_bytes < LEAST_MEMORY:
            raise ConfigError(
                f"expected a memory limit of at least {LEAST_MEMORY / GIB:g} GiB, "
                f"got {self.memory_bytes / GIB:g}"
            )
        if not (self.seconds > 0 and math.isfinite(self.seconds)):
            raise ConfigError(f"expected a time limit above 0 seconds, got {self.seconds}")


SCAN_LIMITS = IsolationLimits()
"""Of a scan: enough for a large network on the CPU."""

INSPECT_LIMITS = IsolationLimits(memory_bytes=4 * GIB, seconds=300.0)
"""Of an inspection, which uses no weight."""
