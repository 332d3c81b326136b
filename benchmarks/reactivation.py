"""How little it takes to bring a removed backdoor back.

Repaired models keep traces of their backdoor, and fine-tuning on a handful of poisoned images wakes
it up (Min et al., "Uncovering, Explaining, and Mitigating the Superficial Safety of Backdoor
Defense", NeurIPS 2024). A removal is deep when that does not work.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from benchmarks.truth import GroundTruth
from rnp_core.data import DefenseSet
from rnp_core.model import SuspectModel


@dataclass(frozen=True)
class ReactivationConfig:
    """Settings of :func:`reactivate`: an attacker who may retrain the model for a moment."""

    poisoned: int = 10  # triggered images with the label that the attacker wants
    steps: int = 20
    batch_size: int = 118  # clean images beside the poisoned ones
    learning_rate: float = 0.01
    momentum: float = 0.9


def reactivate(
    model: SuspectModel,
    clean: DefenseSet,
    truth: GroundTruth,
    *,
    seed: int,
    config: ReactivationConfig = ReactivationConfig(),
) -> SuspectModel:
    """A copy of ``model`` after a short fine-tuning on clean images and a few poisoned ones.

    Poisoned images are the last of the truth's first target, as :meth:`GroundTruth.measure` takes
    the first ones.
    """
    generator = torch.Generator().manual_seed(seed)
    part = truth.triggered[0]
    poisoned, wanted = part.images[-config.poisoned :], part.wanted[-config.poisoned :]
    tuned = model.copy().train()
    tuned.requires_grad_(True)
    optimizer = torch.optim.SGD(
        tuned.parameters(), lr=config.learning_rate, momentum=config.momentum
    )
    for _ in range(config.steps):
        drawn = torch.randperm(len(clean), generator=generator)[: config.batch_size]
        logits = tuned(torch.cat([clean.images[drawn], poisoned]))
        loss = F.cross_entropy(logits, torch.cat([clean.labels[drawn], wanted]).to(model.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return tuned.copy()
