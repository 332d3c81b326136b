"""Trigger inversion: the engine and the kinds of triggers that it knows."""

from rnp_core.inversion.engine import InversionConfig, RecoveredTrigger, invert
from rnp_core.inversion.kinds import KINDS, TriggerKind

__all__ = ["KINDS", "InversionConfig", "RecoveredTrigger", "TriggerKind", "invert"]
