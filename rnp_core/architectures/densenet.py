"""DenseNet (Huang et al., CVPR 2017) with torchvision's tensor names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rnp_core.architectures.base import Family, Guess, Reading, Shapes


class DenseLayer(nn.Module):
    """BatchNorm, ReLU, 1x1 convolution to ``inner`` channels; the same with 3x3 to ``growth``."""

    def __init__(self, channels: int, inner: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, growth, 3, padding=1, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.relu(self.norm2(self.conv1(self.relu(self.norm1(x))))))
        return torch.cat((x, out), 1)  # (N, channels + growth, H, W)


class DenseTransition(nn.Module):
    """Halves the resolution between two dense blocks."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(before)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(before, after, 1, bias=False)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(self.relu(self.norm(x))))


class DenseNet(nn.Module):
    """Densely connected network; see :func:`densenet` for the arguments."""

    def __init__(
        self,
        depths: Sequence[int],
        growth: int,
        inner: int,
        stem_width: int,
        stem: str,
        num_classes: int,
        in_channels: int,
        pool: bool,
    ) -> None:
        super().__init__()
        features = nn.Sequential()
        kernel, stride = (7, 2) if stem == "imagenet" else (3, 1)
        conv = nn.Conv2d(in_channels, stem_width, kernel, stride, kernel // 2, bias=False)
        features.add_module("conv0", conv)
        features.add_module("norm0", nn.BatchNorm2d(stem_width))
        features.add_module("relu0", nn.ReLU())
        features.add_module("pool0", nn.MaxPool2d(3, 2, 1) if pool else nn.Identity())
        channels = stem_width
        for number, depth in enumerate(depths, start=1):
            block = nn.Sequential()
            for index in range(1, depth + 1):
                block.add_module(f"denselayer{index}", DenseLayer(channels, inner, growth))
                channels += growth
            features.add_module(f"denseblock{number}", block)
            if number < len(depths):
                transition = DenseTransition(channels, channels // 2)
                features.add_module(f"transition{number}", transition)
                channels //= 2
        features.add_module(f"norm{len(depths) + 1}", nn.BatchNorm2d(channels))
        self.features = features
        self.relu = nn.ReLU()
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.relu(self.features(x)).mean((2, 3)))


def densenet(
    *,
    depths: Sequence[int] = (6, 12, 24, 16),
    growth: int = 32,
    inner: int | None = None,
    stem_width: int | None = None,
    stem: str = "imagenet",
    num_classes: int = 1000,
    in_channels: int = 3,
    max_pool: bool | None = None,
) -> DenseNet:
    """A DenseNet-BC for images ``(N, in_channels, H, W)``; returns logits ``(N, num_classes)``.

    Args:
        depths: layers of each dense block.
        growth: channels that a layer adds.
        inner: channels after the 1x1 convolution of a layer; default ``4 * growth``.
        stem_width: channels of the first convolution; default ``2 * growth``.
        stem: ``"imagenet"`` (7x7 stride 2) or ``"cifar"`` (3x3 stride 1).
        num_classes: outputs of the last layer.
        in_channels: 1 or 3.
        max_pool: 3x3 stride 2 max pool after the stem; default: only with the ImageNet stem.
    """
    return DenseNet(
        depths,
        growth,
        4 * growth if inner is None else inner,
        2 * growth if stem_width is None else stem_width,
        stem,
        num_classes,
        in_channels,
        stem == "imagenet" if max_pool is None else max_pool,
    )


def _infer(shapes: Shapes) -> Guess | None:
    first = "features.denseblock1.denselayer1"
    if f"{first}.conv2.weight" not in shapes or "classifier.weight" not in shapes:
        return None
    depths: list[int] = []
    while depth := _count_layers(shapes, f"features.denseblock{len(depths) + 1}.denselayer"):
        depths.append(depth)
    growth, inner = shapes[f"{first}.conv2.weight"][:2]
    stem = shapes["features.conv0.weight"]
    kind = "imagenet" if stem[2] == 7 else "cifar"
    parameters: dict[str, Any] = {
        "depths": tuple(depths),
        "growth": growth,
        "inner": inner,
        "stem_width": stem[0],
        "stem": kind,
        "num_classes": shapes["classifier.weight"][0],
        "in_channels": stem[1],
    }
    readings = (
        Reading("no max pool after the stem", {"max_pool": False}),
        Reading("max pool after the stem", {"max_pool": True}),
    )
    name = f"densenet{2 * sum(depths) + len(depths) + 1}"
    small = kind == "cifar"
    return Guess(name, parameters, stem[1], 32 if small else 224, readings if small else ())


def _count_layers(shapes: Shapes, prefix: str) -> int:
    count = 0
    while f"{prefix}{count + 1}.conv1.weight" in shapes:
        count += 1
    return count


_PRESETS: dict[str, dict[str, Any]] = {
    "densenet121": {},
    "densenet169": {"depths": (6, 12, 32, 32)},
    "densenet201": {"depths": (6, 12, 48, 32)},
    "densenet161": {"depths": (6, 12, 36, 24), "growth": 48},
    "densenet100_cifar": {"depths": (16, 16, 16), "growth": 12, "stem": "cifar"},
}

FAMILY = Family("densenet", densenet, _infer, _PRESETS)
