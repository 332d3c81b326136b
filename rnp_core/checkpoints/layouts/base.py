"""What every layout gives back, and how values of a hostile tree are taken out of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from rnp_core.checkpoints.limits import ReadLimits
from rnp_core.checkpoints.records import GlobalName, TensorRef, printable
from rnp_core.checkpoints.result import CheckpointHints, OfferedImages

Leaf = Tensor | TensorRef
_TEXT_LENGTH = 200


@dataclass(frozen=True, eq=False)
class Context:
    """What a layout may look at beside the tree.

    Attributes:
        limits: the read limits.
        materialise: values of a leaf; None while inspecting, when no weight may be used.
        folder: the folder of the file.
        configs: JSON files of that folder that belong to the checkpoint, by name.
    """

    limits: ReadLimits
    materialise: Callable[[Leaf], Tensor] | None
    folder: Path
    configs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Match:
    """A recognised layout.

    Attributes:
        name: of the layout.
        entries: leaves of the network by name, wrapper prefixes still on.
        hints: claims of the layout.
        offered: image sets; empty while inspecting.
    """

    name: str
    entries: dict[str, Leaf]
    hints: CheckpointHints = field(default_factory=CheckpointHints)
    offered: tuple[OfferedImages, ...] = ()


def is_leaf(value: Any) -> bool:
    """Whether ``value`` is a tensor, read or not."""
    return isinstance(value, (Tensor, TensorRef))


def text(value: Any) -> str | None:
    """``value`` as short printable text, or None when it is not text."""
    if isinstance(value, GlobalName):
        value = value.dotted
    return printable(value[:_TEXT_LENGTH]) if isinstance(value, str) and value else None


def count(value: Any, *, most: int = 1_000_000) -> int | None:
    """``value`` when it is an integer in [1, most], else None."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 1 <= value <= most else None


def numbers(value: Any) -> tuple[float, ...]:
    """``value`` when it is a list of one to four finite numbers, else ``()``."""
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= 4:
        return ()
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in value):
        return ()
    if any(abs(v) > 1e6 or not math.isfinite(v) for v in value):
        return ()
    return tuple(float(v) for v in value)


def names(value: Any, *, most: int = 100_000) -> tuple[str, ...]:
    """``value`` when it is a list of names, or a map of class index to name, else ``()``."""
    if isinstance(value, Mapping):
        keys = [str(index) for index in range(len(value))]
        by_text = {str(key): name for key, name in value.items() if isinstance(key, (int, str))}
        value = [by_text.get(key) for key in keys]
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= most:
        return ()
    found = [text(name) for name in value]
    return tuple(name for name in found if name) if all(found) else ()
