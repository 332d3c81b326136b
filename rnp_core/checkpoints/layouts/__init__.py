"""Layouts: how the tools that write checkpoints arrange what is in them."""

from __future__ import annotations

from typing import Any

from rnp_core.checkpoints.layouts.backdoorbench import match_backdoorbench
from rnp_core.checkpoints.layouts.base import Context, Leaf, Match
from rnp_core.checkpoints.layouts.huggingface import match_huggingface
from rnp_core.checkpoints.layouts.lightning import match_lightning
from rnp_core.checkpoints.layouts.rnp import match_rnp
from rnp_core.checkpoints.layouts.state_dict import match_state_dict
from rnp_core.checkpoints.layouts.trojai import match_trojai

_SPECIAL = (match_backdoorbench, match_lightning, match_rnp, match_trojai, match_huggingface)


def recognise(root: Any, context: Context) -> Match:
    """The layout of a tree; special ones first, then state dicts in general.

    Raises:
        CheckpointError: when there is no network in it.
    """
    for match in _SPECIAL:
        found = match(root, context)
        if found is not None:
            return found
    return match_state_dict(root, context)


__all__ = ["Context", "Leaf", "Match", "recognise"]
