"""ConvNeXt (Liu et al., CVPR 2022) with torchvision's tensor names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnp_core.architectures.base import MAX_STAGES, Family, Guess, Shapes, count_indices

_EPS = 1e-6


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of ``(N, C, H, W)``."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)  # (N, H, W, C)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Permute(nn.Module):
    """Reorders the dimensions."""

    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.dims)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, LayerNorm, two linear layers with GELU between; scaled and added."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width),
            Permute(0, 2, 3, 1),
            nn.LayerNorm(width, eps=_EPS),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, width),
            Permute(0, 3, 1, 2),
        )
        self.layer_scale = nn.Parameter(torch.full((width, 1, 1), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer_scale * self.block(x)


class ConvNeXt(nn.Module):
    """Four stages of :class:`ConvNeXtBlock`; see :func:`convnext` for the arguments."""

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        patch_size: int,
        num_classes: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        stem = nn.Conv2d(in_channels, widths[0], patch_size, patch_size)
        layers: list[nn.Module] = [nn.Sequential(stem, ChannelNorm(widths[0], eps=_EPS))]
        for index, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            if index:
                before = widths[index - 1]
                down = nn.Conv2d(before, width, 2, 2)
                layers.append(nn.Sequential(ChannelNorm(before, eps=_EPS), down))
            blocks = (ConvNeXtBlock(width, 4 * width) for _ in range(depth))
            layers.append(nn.Sequential(*blocks))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            ChannelNorm(widths[-1], eps=_EPS), nn.Flatten(1), nn.Linear(widths[-1], num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)))


def convnext(
    *,
    depths: Sequence[int] = (3, 3, 9, 3),
    widths: Sequence[int] = (96, 192, 384, 768),
    patch_size: int = 4,
    num_classes: int = 1000,
    in_channels: int = 3,
) -> ConvNeXt:
    """A ConvNeXt for images ``(N, in_channels, H, W)``; returns logits ``(N, num_classes)``.

    Args:
        depths: blocks of each stage.
        widths: channels of each stage.
        patch_size: kernel size and stride of the stem.
        num_classes: outputs of the last layer.
        in_channels: 1 or 3.
    """
    return ConvNeXt(depths, widths, patch_size, num_classes, in_channels)


def _infer(shapes: Shapes) -> Guess | None:
    if "features.1.0.layer_scale" not in shapes or "classifier.2.weight" not in shapes:
        return None
    stages = range(1, min(count_indices(shapes, "features."), 2 * MAX_STAGES), 2)
    stem = shapes["features.0.0.weight"]
    depths = tuple(count_indices(shapes, f"features.{stage}.") for stage in stages)
    widths = tuple(shapes[f"features.{stage}.0.layer_scale"][0] for stage in stages)
    parameters: dict[str, Any] = {
        "depths": depths,
        "widths": widths,
        "patch_size": stem[2],
        "num_classes": shapes["classifier.2.weight"][0],
        "in_channels": stem[1],
    }
    name = _NAMES.get((depths, widths[0]), "convnext")
    return Guess(name, parameters, stem[1], 224 if stem[2] == 4 else 32)


_NAMES: dict[tuple[tuple[int, ...], int], str] = {
    ((3, 3, 9, 3), 96): "convnext_tiny",
    ((3, 3, 27, 3), 96): "convnext_small",
}
_PRESETS: dict[str, dict[str, Any]] = {
    "convnext_tiny": {},
    "convnext_small": {"depths": (3, 3, 27, 3)},
}

FAMILY = Family("convnext", convnext, _infer, _PRESETS)
