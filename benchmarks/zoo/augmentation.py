"""Random changes of training images, each batch anew and drawn from an explicit generator.

Everything random is drawn on the CPU, so that it is the same on every device; the images may lie
anywhere.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def light(images: Tensor, generator: torch.Generator, *, shift: int, flips: bool) -> Tensor:
    """Each image moved by up to ``shift`` pixels, edges repeated, and half of them mirrored.

    Args:
        images: ``(N, C, H, W)``.
        flips: whether to mirror.
    """
    count, _, height, width = images.shape
    padded = F.pad(images, (shift,) * 4, mode="replicate").permute(0, 2, 3, 1)
    top, left = torch.randint(0, 2 * shift + 1, (2, count, 1), generator=generator)
    rows = (top + torch.arange(height))[:, :, None]  # (N, H, 1)
    columns = torch.arange(width).expand(count, width)
    if flips:
        mirrored = torch.rand((count, 1), generator=generator) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    columns = (left + columns)[:, None, :]  # (N, 1, W)
    places = (torch.arange(count)[:, None, None], rows, columns)
    return padded[tuple(place.to(images.device) for place in places)].permute(0, 3, 1, 2)


def strong(images: Tensor, generator: torch.Generator, *, shift: int, flips: bool) -> Tensor:
    """:func:`light` with twice the shift, then scale, brightness, contrast, colour and erasing.

    Erasing follows Zhong et al. (AAAI 2020): a rectangle of noise in half of the images.
    """
    moved = _scaled(light(images, generator, shift=2 * shift, flips=flips), generator)
    count, channels = moved.shape[:2]

    def factor(spread: float, *shape: int) -> Tensor:
        drawn = torch.rand((count, *shape), generator=generator).to(images.device)
        return 1 + spread * (2 * drawn - 1)

    mean = moved.mean((1, 2, 3), keepdim=True)
    moved = (moved - mean) * factor(0.4, 1, 1, 1) + mean * factor(0.3, 1, 1, 1)
    moved = moved * factor(0.15, channels, 1, 1)
    return _erased(moved, generator).clamp(0, 1)


def noisy(images: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Images with Gaussian noise of that standard deviation, clipped to [0, 1]."""
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    return (images + deviation * noise).clamp(0, 1)


def _scaled(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image stretched by 0.8 to 1.2 on each axis around its centre."""
    count, _, height, width = images.shape
    scales = 0.8 + 0.4 * torch.rand((count, 2), generator=generator)
    theta = torch.diag_embed(1 / scales)  # (N, 2, 2)
    theta = torch.cat([theta, torch.zeros(count, 2, 1)], dim=2)
    grid = F.affine_grid(theta, [count, 1, height, width], align_corners=False).to(images.device)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _erased(images: Tensor, generator: torch.Generator) -> Tensor:
    count, _, height, width = images.shape
    draws = torch.rand((5, count, 1), generator=generator)
    tall, wide = (height * (0.15 + 0.35 * draws[0])), (width * (0.15 + 0.35 * draws[1]))
    top, left = draws[2] * (height - tall), draws[3] * (width - wide)
    rows, columns = torch.arange(height)[None], torch.arange(width)[None]
    inside_rows = (rows >= top) & (rows < top + tall) & (draws[4] < 0.5)  # (N, H)
    inside_columns = (columns >= left) & (columns < left + wide)  # (N, W)
    inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    noise = torch.rand(images.shape, generator=generator)
    return torch.where(inside.to(images.device), noise.to(images.device), images)
