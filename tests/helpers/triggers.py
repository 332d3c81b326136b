"""Recovered triggers that no inversion had to find."""

from __future__ import annotations

import torch

from rnp_core.inversion import KINDS, RecoveredTrigger
from tests.helpers.models import CHANNELS, CORNER_TRIGGER, SIDE, TARGET


def corner_patch(label: int = TARGET) -> RecoveredTrigger:
    """The true trigger of the planted backdoor, in the form of a recovered one for ``label``."""
    mask, pattern = torch.full((1, 1, SIDE, SIDE), -100.0), torch.zeros(1, CHANNELS, SIDE, SIDE)
    mask[..., -2:, -2:] = 100.0
    pattern[..., -2:, -2:] = torch.where(CORNER_TRIGGER.values > 0, 100.0, -100.0)
    return RecoveredTrigger(
        label, "patch", 4.0, 1.0, mask[0].sigmoid(), pattern[0].sigmoid(), [mask, pattern]
    )


def untrained_trigger(kind: str, label: int = TARGET) -> RecoveredTrigger:
    """A trigger of any kind, as the inversion starts with it."""
    shape = (CHANNELS, SIDE, SIDE)
    parameters = KINDS[kind].start(1, shape, torch.Generator().manual_seed(0))
    mask, pattern = KINDS[kind].picture(parameters, shape)
    return RecoveredTrigger(label, kind, 1.0, 1.0, mask[0], pattern[0], parameters)


def sized_trigger(
    label: int, size: float, *, kind: str = "patch", flips: float = 0.9
) -> RecoveredTrigger:
    """A trigger of which only the facts count."""
    empty = torch.zeros(1, 2, 2)
    return RecoveredTrigger(label, kind, size, flips, empty, empty, [])
