"""The limits on reading as texts, such as ``checkpoint.file_bytes=20e9``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from rnp_core.checkpoints import ReadLimits
from rnp_core.errors import ConfigError
from rnp_core.images import ImageLimits


def parse_limits(texts: Sequence[str] | None) -> tuple[ReadLimits, ImageLimits]:
    """The limits that ``texts`` say, the others as by default.

    Args:
        texts: ``checkpoint.NAME=NUMBER`` or ``images.NAME=NUMBER``, with the field names of
            :class:`ReadLimits` and :class:`ImageLimits`.

    Raises:
        ConfigError: for another name, or a number that is not above 0.
    """
    limits: dict[str, Any] = {"checkpoint": ReadLimits(), "images": ImageLimits()}
    for text in texts or ():
        name, _, number = text.partition("=")
        kind, _, field = name.partition(".")
        known = vars(limits[kind]) if kind in limits else {}
        if field not in known:
            names = [f"{kind}.{field}" for kind in limits for field in vars(limits[kind])]
            raise ConfigError(f"expected a limit among {', '.join(names)}, got {name!r}")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"expected a number above 0 for the limit {name}, got {number!r}")
        whole = isinstance(known[field], int)
        change = {field: max(int(value), 1) if whole else value}
        limits[kind] = dataclasses.replace(limits[kind], **change)
    return limits["checkpoint"], limits["images"]
