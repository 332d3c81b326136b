"""Bounding how deep a tree of pickle values is nested."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rnp_core.checkpoints.records import CallRecord
from rnp_core.errors import CheckpointError


def check_depth(root: Any, depth: int) -> None:
    """Refuse a tree whose values are further than ``depth`` containers from ``root``.

    Shared values and cycles are visited once, so the cost is that of the number of objects.

    Raises:
        CheckpointError: when it is nested deeper.
    """
    seen: set[int] = set()
    level: list[Any] = [root]
    for _ in range(depth + 1):
        level = [child for value in level for child in _children(value, seen)]
        if not level:
            return
    raise CheckpointError(f"expected at most {depth} nested containers, got more")


def _children(value: Any, seen: set[int]) -> Iterable[Any]:
    if not isinstance(value, (dict, list, tuple, CallRecord)) or id(value) in seen:
        return ()
    seen.add(id(value))
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, (list, tuple)):
        return value
    return (value.function, value.args, value.state, value.items, *value.entries)
