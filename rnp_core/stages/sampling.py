"""Batches and light augmentation, drawn from an explicit generator."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def epoch_batches(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless index batches: each pass over ``range(count)`` is a new permutation.

    Every batch has ``min(count, batch_size)`` indices; a remainder moves into the next pass.
    """
    batch_size = min(count, batch_size)
    waiting = torch.empty(0, dtype=torch.int64)
    while True:
        if len(waiting) < batch_size:
            waiting = torch.cat([waiting, torch.randperm(count, generator=generator)])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """One random shift for the batch: crop after reflection padding by 1/8 of the shorter side.

    Flips are left out: they change the class of a traffic sign or a digit.

    Args:
        images: ``(N, C, H, W)``.
    """
    height, width = images.shape[-2:]
    pad = max(1, min(height, width) // 8)
    top, left = (int(v) for v in torch.randint(0, 2 * pad + 1, (2,), generator=generator))
    padded = F.pad(images, (pad, pad, pad, pad), mode="reflect")
    return padded[..., top : top + height, left : left + width]


def with_controls(first: list[int], everyone: list[int], count: int) -> list[int]:
    """``first`` and evenly spaced others of ``everyone``, up to ``count`` labels, sorted."""
    others = [label for label in everyone if label not in first]
    wanted = max(0, min(count, len(everyone)) - len(first))
    step = len(others) / wanted if wanted else 0
    return sorted(first + [others[int(place * step)] for place in range(wanted)])
