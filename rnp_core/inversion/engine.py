"""Trigger inversion for many labels in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rnp_core.data import DefenseSet
from rnp_core.inversion.kinds import TriggerKind
from rnp_core.model import SuspectModel
from rnp_core.progress import OnProgress, Progress, ignore_progress


@dataclass(frozen=True, eq=False)
class Inversion:
    labels: tuple[int, ...]
    kind: TriggerKind
    parameters: list[Tensor]
    sizes: Tensor
    flip_rates: Tensor
    history: Tensor


def invert(
    model: SuspectModel,
    defense_set: DefenseSet,
    kind: TriggerKind,
    labels: Sequence[int],
    *,
    steps: int = 120,
    batch_size: int = 8,
    seed: int = 0,
    goal: float = 0.85,
    rate: float = 0.10,
    on_progress: OnProgress = ignore_progress,
) -> Inversion:
    generator = torch.Generator().manual_seed(seed)
    network = model.copy()
    wanted = torch.tensor(list(labels))
    count = len(wanted)
    parameters = kind.start(count, model.input_shape, generator)
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(parameters, lr=kind.learning_rate, betas=(0.5, 0.9))
    weight = torch.full((count,), kind.initial_weight)
    flips = torch.zeros(count)
    best_size = torch.full((count,), float("inf"))
    best = [p.detach().clone() for p in parameters]
    pools = [torch.nonzero(defense_set.labels != label).flatten() for label in labels]
    history = []
    for step in range(steps):
        chosen = torch.stack(
            [pool[torch.randint(len(pool), (batch_size,), generator=generator)] for pool in pools]
        )
        images = defense_set.images[chosen.flatten()].view(count, batch_size, *model.input_shape)
        triggered = kind.apply(parameters, images)
        logits = network(triggered.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        targets = wanted.repeat_interleave(batch_size)
        error = F.cross_entropy(logits, targets, reduction="none").view(count, batch_size).mean(1)
        size = kind.size(parameters)
        gradients = torch.autograd.grad((error + weight * size).sum(), parameters)
        hit = (logits.argmax(1) == targets).float().view(count, batch_size).mean(1)
        flips = hit if step == 0 else 0.7 * flips + 0.3 * hit
        with torch.no_grad():
            better = (flips >= goal) & (size < best_size)
            best_size = torch.where(better, size, best_size)
            for kept, parameter in zip(best, parameters, strict=True):
                kept[better] = parameter[better]
            weight *= torch.where(flips >= goal, 1 + rate, 1 / (1 + rate))
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        history.append(size.detach())
        on_progress(Progress("invert", step + 1, steps))
    never = torch.isinf(best_size)
    for kept, parameter in zip(best, parameters, strict=True):
        kept[never] = parameter.detach()[never]
    return Inversion(tuple(labels), kind, best, torch.where(never, size.detach(), best_size), flips, torch.stack(history))
