"""What a recovered trigger does to a model."""

from __future__ import annotations

import torch
from torch import Tensor

from rnp_core.data import DefenseSet
from rnp_core.inversion.engine import ANY_LABEL, RecoveredTrigger, trigger_hits
from rnp_core.metrics import predict
from rnp_core.model import SuspectModel


def flips(
    model: SuspectModel, trigger: RecoveredTrigger, defense_set: DefenseSet
) -> tuple[Tensor, Tensor]:
    """Which clean images a recovered trigger flips, of those that it is meant for.

    Meant are images of its sources, which are all other classes if it has none, or, for a trigger
    to any other class, those that the model gets right without it.

    Returns:
        ``(M,)`` bool, and ``(M,)`` int64 true labels.
    """
    labels = defense_set.labels
    if trigger.label == ANY_LABEL:
        meant = predict(model, defense_set.images) == labels
    else:
        meant = trigger.is_for(labels)
    labels, images = labels[meant], defense_set.images[meant]
    if len(images) == 0:
        return torch.zeros(0, dtype=torch.bool), labels
    return trigger_hits(predict(model, trigger.apply(images)), trigger.label, labels), labels


def flip_rate(model: SuspectModel, trigger: RecoveredTrigger, defense_set: DefenseSet) -> float:
    """Share of :func:`flips`, [0, 1]; 0 when there are no images to flip.

    An estimate of the attack success rate, which would need the true trigger.
    """
    flipped, _ = flips(model, trigger, defense_set)
    return float(flipped.float().mean()) if len(flipped) else 0.0
