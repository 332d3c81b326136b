"""Wrapper prefixes of tensor names: what DataParallel, torch.compile and trainers put in front."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "network.", "ema.", "state_dict.")

_T = TypeVar("_T")


def wrapper_prefix(names: Iterable[str]) -> str:
    """The longest chain of :data:`WRAPPERS` that every name starts with, or ``""``."""
    remaining = list(names)
    prefix = ""
    while remaining:
        found = next((p for p in WRAPPERS if all(name.startswith(p) for name in remaining)), None)
        if found is None or any(name == found for name in remaining):
            break
        prefix += found
        remaining = [name[len(found) :] for name in remaining]
    return prefix


def remove_prefix(entries: Mapping[str, _T], prefix: str) -> dict[str, _T]:
    """``entries`` with ``prefix`` cut off every name; every name must start with it."""
    return {name[len(prefix) :]: value for name, value in entries.items()}
