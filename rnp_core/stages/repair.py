"""Repair: a short fine-tuning against the recovered triggers, where pruning alone cannot do it.

One recovered trigger is weaker than the true one, so filters that only the true one needs survive
pruning. Images stamped with recovered triggers under their true labels teach the rest of the
network to ignore them (the unlearning step of Neural Cleanse, section 6.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from rnp_core.data import DefenseSet
from rnp_core.inversion import RecoveredTrigger
from rnp_core.model import SuspectModel
from rnp_core.progress import OnProgress, Progress, ignore_progress
from rnp_core.stages.sampling import augment, epoch_batches


@dataclass(frozen=True)
class RepairConfig:
    """Settings of :func:`repair`."""

    steps: int = 100  # SGD steps
    batch_size: int = 64  # images
    triggered_share: float = 0.33  # of each batch
    learning_rate: float = 0.01  # falls to 0 along a cosine
    momentum: float = 0.9
    seed: int = 0


def repair(
    model: SuspectModel,
    defense_set: DefenseSet,
    triggers: Sequence[RecoveredTrigger],
    *,
    config: RepairConfig = RepairConfig(),
    on_progress: OnProgress = ignore_progress,
) -> SuspectModel:
    """A fine-tuned copy of ``model`` in which ``triggers`` no longer work.

    BatchNorm statistics and dropout stay as they are; gradients are clipped to norm 1 after the
    backward pass. Parameters that are exactly 0 (pruned filters) stay 0.

    Args:
        triggers: at least one; each triggered image gets one of them.

    Raises:
        ScanCancelled: when the callback raises it.
    """
    generator = torch.Generator().manual_seed(config.seed)
    repaired = model.copy()
    parameters = [p for p in repaired.network.parameters() if p.is_floating_point()]
    silent = [p.detach() == 0 for p in parameters]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.SGD(parameters, lr=config.learning_rate, momentum=config.momentum)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    batches = epoch_batches(len(defense_set), config.batch_size, generator)
    for step in range(config.steps):
        indices = next(batches)
        images = augment(defense_set.images[indices], generator)
        stamped = int(config.triggered_share * len(indices))
        trigger = triggers[step % len(triggers)]
        images = torch.cat([trigger.apply(images[:stamped]), images[stamped:]])
        loss = F.cross_entropy(repaired(images), defense_set.labels[indices])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for parameter, zeros in zip(parameters, silent, strict=True):
                parameter[zeros] = 0.0
        on_progress(Progress("repair", step + 1, config.steps, f"loss {loss.item():.2f}"))
    repaired.zero_grad(set_to_none=True)
    repaired.requires_grad_(False)
    return repaired
