"""How little it takes to bring a removed backdoor back.

Repaired models keep traces of their backdoor, and fine-tuning on a handful of poisoned images wakes
it up (Min et al., "Uncovering, Explaining, and Mitigating the Superficial Safety of Backdoor
Defense", NeurIPS 2024). A removal is deep when that does not work.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.truth import GroundTruth, TriggeredImages
from rnp_core.data import DefenseSet
from rnp_core.model import SuspectModel

POISONED = (10, 1)
"""Triggered images with the label that the attacker wants, of a stronger and a weaker attempt; of
each target one at least."""


@dataclass(frozen=True)
class ReactivationConfig:
    """Settings of :func:`reactivate`: an attacker who may retrain the model for a moment."""

    steps: int = 20
    batch_size: int = 118  # clean images beside the poisoned ones
    learning_rate: float = 0.01
    momentum: float = 0.9


def with_new_trigger(truth: GroundTruth) -> GroundTruth:
    """The truth of a model without a backdoor that is to learn one: a white square of an eighth of
    the side in the lower right corner, for label 0. What re-activation does with it is what the
    same fine-tuning does without any backdoor to bring back."""
    indices = torch.nonzero(truth.clean.labels != 0).flatten()
    images = truth.clean.images[indices].clone()
    side = max(2, images.shape[-1] // 8)
    images[..., -side:, -side:] = 1.0
    part = TriggeredImages(0, indices, images, torch.zeros_like(indices))
    return dataclasses.replace(truth, triggered=(part,))


def hold_back(truth: GroundTruth, count: int) -> tuple[Tensor, Tensor, GroundTruth]:
    """``count`` triggered images for the attacker, of all targets in turn.

    Returns:
        Images ``(N, C, H, W)``, the wanted labels ``(N,)``, and the truth without these images.
    """
    targets = len(truth.triggered)
    images, wanted, rest = [], [], []
    for turn, part in enumerate(truth.triggered):
        kept = len(part.images) - len(range(turn, count, targets))
        images.append(part.images[kept:])
        wanted.append(part.wanted[kept:])
        rest.append(
            TriggeredImages(
                part.target, part.indices[:kept], part.images[:kept], part.wanted[:kept]
            )
        )
    left = dataclasses.replace(truth, triggered=tuple(rest))
    return torch.cat(images), torch.cat(wanted), left


def reactivate(
    model: SuspectModel,
    clean: DefenseSet,
    poisoned: Tensor,
    wanted: Tensor,
    *,
    seed: int,
    config: ReactivationConfig = ReactivationConfig(),
) -> SuspectModel:
    """A copy of ``model`` after a short fine-tuning on clean images and a few poisoned ones.

    Args:
        poisoned, wanted: as from :func:`hold_back`.
    """
    generator = torch.Generator().manual_seed(seed)
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
