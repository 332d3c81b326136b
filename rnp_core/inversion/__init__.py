"""Trigger inversion: the engine and the kinds of triggers that it knows."""

from rnp_core.inversion.effect import flip_rate, flips
from rnp_core.inversion.engine import (
    ANY_LABEL,
    InversionConfig,
    RecoveredTrigger,
    invert,
    trigger_hits,
    trigger_loss,
)
from rnp_core.inversion.kinds import KINDS, TriggerKind

__all__ = [
    "ANY_LABEL",
    "KINDS",
    "InversionConfig",
    "RecoveredTrigger",
    "TriggerKind",
    "flip_rate",
    "flips",
    "invert",
    "trigger_hits",
    "trigger_loss",
]
