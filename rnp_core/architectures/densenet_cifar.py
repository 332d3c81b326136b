"""DenseNet as CIFAR code writes it: ``denseN.M``, ``transN``, ``bn``, ``linear``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rnp_core.architectures.base import Family, Guess, Shapes, stage_depths


class CifarDenseLayer(nn.Module):
    """A bottleneck layer; the new channels come first in its output."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.relu(self.bn2(self.conv1(self.relu(self.bn1(x))))))
        return torch.cat((out, x), 1)  # (N, growth + channels, H, W)


class CifarTransition(nn.Module):
    """Halves the resolution between two dense blocks."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(before)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(before, after, 1, bias=False)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(self.relu(self.bn(x))))


class CifarDenseNet(nn.Module):
    """Densely connected network; see :func:`densenet_cifar` for the arguments."""

    def __init__(
        self, depths: Sequence[int], growth: int, num_classes: int, in_channels: int
    ) -> None:
        super().__init__()
        channels = 2 * growth
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        for number, depth in enumerate(depths, start=1):
            layers = [CifarDenseLayer(channels + i * growth, growth) for i in range(depth)]
            self.add_module(f"dense{number}", nn.Sequential(*layers))
            channels += depth * growth
            if number < len(depths):
                self.add_module(f"trans{number}", CifarTransition(channels, channels // 2))
                channels //= 2
        self.blocks = len(depths)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for number in range(1, self.blocks + 1):
            x = getattr(self, f"dense{number}")(x)
            if number < self.blocks:
                x = getattr(self, f"trans{number}")(x)
        return self.linear(self.relu(self.bn(x)).mean((2, 3)))


def densenet_cifar(
    *,
    depths: Sequence[int] = (6, 12, 24, 16),
    growth: int = 12,
    num_classes: int = 10,
    in_channels: int = 3,
) -> CifarDenseNet:
    """A DenseNet-BC for small images ``(N, in_channels, H, W)``; returns logits.

    Args:
        depths: layers of each dense block.
        growth: channels that a layer adds.
        num_classes: outputs of the last layer.
        in_channels: 1 or 3.
    """
    return CifarDenseNet(depths, growth, num_classes, in_channels)


def _infer(shapes: Shapes) -> Guess | None:
    if "dense1.0.conv2.weight" not in shapes or "linear.weight" not in shapes:
        return None
    depths = stage_depths(shapes, "dense{}.")
    in_channels = shapes["conv1.weight"][1]
    parameters: dict[str, Any] = {
        "depths": depths,
        "growth": shapes["dense1.0.conv2.weight"][0],
        "num_classes": shapes["linear.weight"][0],
        "in_channels": in_channels,
    }
    name = f"densenet{2 * sum(depths) + len(depths) + 1}_cifar"
    return Guess(name, parameters, in_channels, 32)


FAMILY = Family("densenet_cifar", densenet_cifar, _infer, {"densenet121_cifar": {}})
