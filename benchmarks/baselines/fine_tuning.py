"""Plain fine-tuning on the clean images, the simplest removal.

Settings of BackdoorBench's ``ft`` (defense/ft.py, config/defense/ft/config.yaml): SGD 0.01 with
momentum 0.9, weight decay 5e-4 and a cosine schedule over 100 epochs of batches of 256, crops and
flips, all parameters in train mode.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from benchmarks.baselines.contract import Defence, Outcome
from benchmarks.baselines.training import crop_and_flip, shuffled_batches


@dataclass(frozen=True)
class FineTuningConfig:
    """Settings of :func:`fine_tune`."""

    epochs: int = 100
    batch_size: int = 256
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4


def fine_tune(
    defence: Defence, *, config: FineTuningConfig = FineTuningConfig()
) -> dict[str, Outcome]:
    """Train on with the clean images and their labels."""
    generator = torch.Generator().manual_seed(defence.seed)
    model = defence.model.copy().train()
    model.requires_grad_(True)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs)
    for _ in range(config.epochs):
        for indices in shuffled_batches(len(defence.clean), config.batch_size, generator):
            images = crop_and_flip(defence.clean.images[indices], generator, flips=defence.flips)
            labels = defence.clean.labels[indices].to(model.device)
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return {"fine-tuning": Outcome(repaired=model.copy())}
