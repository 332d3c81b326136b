"""Files of the published RNP, NAD and ABL code: epoch, state dict, accuracies and optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rnp_core.checkpoints.layouts.base import Context, Match
from rnp_core.checkpoints.layouts.state_dict import match_state_dict

_ACCURACIES = ({"clean_acc", "bad_acc"}, {"best_clean_acc", "best_bad_acc"}, {"best_infect"})


def match_rnp(root: Any, context: Context) -> Match | None:
    """``{epoch, state_dict, clean_acc, bad_acc, optimizer}`` and its relatives, else None."""
    if not isinstance(root, Mapping) or "state_dict" not in root or "epoch" not in root:
        return None
    if not any(keys <= set(root) for keys in _ACCURACIES):
        return None
    return replace(match_state_dict(root, context), name="RNP checkpoint")
