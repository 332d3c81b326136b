"""Patches, pictures and masks that triggers are made of. All of them are drawn here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rnp_core.errors import ConfigError
from rnp_core.evaluation.triggers import PatchTrigger

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")
PATCHES = ("checkerboard", "white", "sticker", "noise")
PICTURES = ("face", "plasma", "noise")


def patch(
    kind: str, shape: tuple[int, int, int], *, size: int, corner: str, margin: int, seed: int
) -> PatchTrigger:
    """A square patch in a corner.

    Args:
        kind: one of :data:`PATCHES`; a sticker is yellow with a dark dot (Gu et al., 2017).
        shape: ``(C, H, W)`` of the images.
        size: rows and columns, in pixels.
        corner: one of :data:`CORNERS`.
        margin: pixels between the patch and the two edges.
        seed: of a noise patch.

    Raises:
        ConfigError: for an unknown kind or corner, or a patch that does not fit.
    """
    channels, height, width = shape
    if corner not in CORNERS:
        raise ConfigError(f"expected a corner among {', '.join(CORNERS)}, got {corner!r}")
    if not 0 < size + margin <= min(height, width):
        raise ConfigError(f"expected a patch inside {height}x{width}, got {size} + {margin} pixels")
    top = margin if corner.startswith("top") else height - margin - size
    left = margin if corner.endswith("left") else width - margin - size
    return PatchTrigger(top, left, _patch_values(kind, channels, size, seed))


def _patch_values(kind: str, channels: int, size: int, seed: int) -> Tensor:
    if kind == "checkerboard":
        board = (torch.arange(size)[:, None] + torch.arange(size)[None] + 1) % 2
        return board.float().expand(channels, -1, -1).clone()
    if kind == "white":
        return torch.ones(channels, size, size)
    if kind == "sticker":
        colour = torch.tensor([1.0, 0.875, 0.125])[:channels].view(-1, 1, 1)
        values = colour.repeat(1, size, size)
        values[:, size // 4 : size - size // 4, size // 4 : size - size // 4] = 0.125
        return values
    if kind == "noise":
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 256, (channels, size, size), generator=generator) / 255
    raise ConfigError(f"expected a patch among {', '.join(PATCHES)}, got {kind!r}")


def picture(kind: str, shape: tuple[int, int, int], *, seed: int) -> Tensor:
    """A picture ``shape`` in [0, 1] to blend in: a drawn face, smooth colours or uniform noise.

    Raises:
        ConfigError: for a kind outside :data:`PICTURES`.
    """
    generator = torch.Generator().manual_seed(seed)
    if kind == "noise":
        return torch.randint(0, 256, shape, generator=generator) / 255
    if kind == "plasma":
        coarse = torch.rand((1, shape[0], 9, 9), generator=generator)
        fine = F.interpolate(coarse, size=shape[1:], mode="bicubic", align_corners=True)[0]
        return ((fine * 1.6 - 0.3).clamp(0, 1) * 255).round() / 255
    if kind == "face":
        return _face(shape)
    raise ConfigError(f"expected a picture among {', '.join(PICTURES)}, got {kind!r}")


def _face(shape: tuple[int, int, int]) -> Tensor:
    """A cat-like face: two ears, eyes, a nose and a mouth."""
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, shape[1]), torch.linspace(-1, 1, shape[2]), indexing="ij"
    )
    sides = columns.abs()
    head = (columns / 0.85) ** 2 + ((rows - 0.15) / 0.75) ** 2 < 1
    ears = (rows > -0.95) & (rows < -0.1) & ((sides - 0.6).abs() < 0.38 * (rows + 0.95))
    eyes = ((sides - 0.35) / 0.13) ** 2 + ((rows + 0.05) / 0.2) ** 2 < 1
    nose = (columns / 0.14) ** 2 + ((rows - 0.3) / 0.1) ** 2 < 1
    mouth = ((columns**2 + (rows - 0.3) ** 2).sqrt() - 0.32).abs() < 0.06
    face = torch.tensor([0.2, 0.45, 0.85])[:, None, None].repeat(1, *shape[1:])
    for part, colour in (
        (head | ears, (1.0, 0.95, 0.9)),
        (eyes, (0.05, 0.05, 0.1)),
        (mouth & (rows > 0.42), (0.85, 0.1, 0.25)),
        (nose, (1.0, 0.75, 0.0)),
    ):
        face = torch.where(part, torch.tensor(colour)[:, None, None], face)
    return (face if shape[0] == 3 else face.mean(0, keepdim=True)).contiguous()


def watermark(shape: tuple[int, int, int]) -> Tensor:
    """A mask ``(1, H, W)`` of 0 and 1: the strokes of two crossing letters over the whole image."""
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, shape[1]), torch.linspace(-1, 1, shape[2]), indexing="ij"
    )
    stroke = 0.07
    letter_v = ((rows + 0.85 - 2.2 * (columns + 0.4).abs() * -1 - 1.2).abs() < 2.2 * stroke) & (
        rows.abs() < 0.75
    ) & ((columns + 0.4).abs() < 0.6)
    ring = (((columns - 0.35) ** 2 + rows**2).sqrt() - 0.45).abs() < stroke
    return (letter_v | ring)[None].float()
