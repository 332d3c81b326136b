"""Pruned networks whose masks are still beside the weights (torch.nn.utils.prune)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor

from rnp_core.errors import CheckpointError

_T = TypeVar("_T")
_ORIGINAL, _MASK = "_orig", "_mask"


def has_masks(names: Mapping[str, object]) -> bool:
    """Whether every ``NAME_orig`` has its ``NAME_mask``, and there is at least one."""
    originals = [name for name in names if name.endswith(_ORIGINAL)]
    return bool(originals) and all(_mask_of(name) in names for name in originals)


def merge_masks(entries: Mapping[str, _T], multiply: Callable[[str, _T, _T], _T]) -> dict[str, _T]:
    """``entries`` with ``NAME = NAME_orig * NAME_mask`` in place of each pair.

    Args:
        entries: leaves by name; :func:`has_masks` holds.
        multiply: called with the name, the original and the mask.
    """
    masks = {_mask_of(name) for name in entries if name.endswith(_ORIGINAL)}
    merged: dict[str, _T] = {}
    for name, value in entries.items():
        if name in masks:
            continue
        if name.endswith(_ORIGINAL):
            plain = name[: -len(_ORIGINAL)]
            merged[plain] = multiply(plain, value, entries[_mask_of(name)])
        else:
            merged[name] = value
    return merged


def apply_mask(name: str, original: Tensor, mask: Tensor) -> Tensor:
    """The pruned weight.

    Raises:
        CheckpointError: when the shapes differ.
    """
    if original.shape != mask.shape:
        raise CheckpointError(
            f"the pruning mask of {name!r} has shape {tuple(mask.shape)}, "
            f"expected {tuple(original.shape)}"
        )
    return original * mask.to(original.dtype)


def _mask_of(name: str) -> str:
    return name[: -len(_ORIGINAL)] + _MASK
