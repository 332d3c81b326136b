"""Batches and augmentation as the published defences train with them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def shuffled_batches(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Index batches of one pass over ``range(count)``, the remainder included.

    A remainder of one image joins the batch before it: one image has no batch statistics.
    """
    batches = list(torch.randperm(count, generator=generator).split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return iter(batches)


def crop_and_flip(
    images: Tensor, generator: torch.Generator, *, flips: bool, padding: int = 4
) -> Tensor:
    """Random crop after black padding, and where ``flips`` a mirror image in every second case.

    Every image draws its own crop, as ``RandomCrop(padding=4)`` and ``RandomHorizontalFlip`` of
    torchvision do in the published code.

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
    """
    count, _, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    top, left = torch.randint(0, 2 * padding + 1, (2, count, 1), generator=generator)
    rows, columns = top + torch.arange(height), left + torch.arange(width)  # (N, H) and (N, W)
    if flips:
        mirrored = torch.rand((count, 1), generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    image = torch.arange(count)[:, None, None]
    return padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
