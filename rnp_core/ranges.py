"""One check for the settings of every stage."""

from __future__ import annotations

import math
from typing import Any

from rnp_core.errors import ConfigError


def check_range(settings: Any, name: str, low: float, high: float = math.inf) -> None:
    """See that field ``name`` of ``settings`` is a number in [``low``, ``high``].

    Raises:
        ConfigError: when it is not.
    """
    value = getattr(settings, name)
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not known or not math.isfinite(value) or not low <= value <= high:
        wanted = f"of at least {low:g}" if math.isinf(high) else f"in [{low:g}, {high:g}]"
        raise ConfigError(f"expected {name} {wanted}, got {value!r}")
