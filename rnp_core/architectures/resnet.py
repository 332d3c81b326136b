"""ResNet (He et al., CVPR 2016) for ImageNet and CIFAR, under the three common naming schemes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from rnp_core.architectures.base import (
    Family,
    Guess,
    Reading,
    Shapes,
    square_side,
    stage_depths,
)

EXPANSION = {"basic": 1, "bottleneck": 4}


class ZeroPadShortcut(nn.Module):
    """Option A: every ``stride``-th row and column, new channels filled with zeros."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (out_channels - in_channels) // 2
        self.after = out_channels - in_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.before, self.after))


class ResidualBlock(nn.Module):
    """A basic block (two 3x3 convolutions) or a bottleneck (1x1, 3x3, 1x1)."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        *,
        block: str,
        shortcut: str,
        shortcut_name: str,
        groups: int,
        inner_ratio: float,
    ) -> None:
        super().__init__()
        out_channels = width * EXPANSION[block]
        if block == "basic":
            self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, out_channels, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(out_channels)
        else:
            inner = int(width * inner_ratio)
            self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(inner)
            self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False)
            self.bn2 = nn.BatchNorm2d(inner)
            self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(out_channels)
        self.block = block
        self.relu = nn.ReLU()
        self.shortcut_name = shortcut_name
        change = stride != 1 or in_channels != out_channels
        path: nn.Module = nn.Sequential()
        if change and shortcut == "A":
            path = ZeroPadShortcut(in_channels, out_channels, stride)
        elif change:
            path = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        self.add_module(shortcut_name, path)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.block == "bottleneck":
            out = self.bn3(self.conv3(self.relu(out)))
        return self.relu(out + getattr(self, self.shortcut_name)(x))


class ResNet(nn.Module):
    """Residual network; see :func:`resnet` for the arguments."""

    def __init__(
        self,
        *,
        block: str,
        depths: Sequence[int],
        widths: Sequence[int],
        num_classes: int,
        in_channels: int,
        stem: str,
        max_pool: bool,
        shortcut: str,
        shortcut_name: str,
        head_name: str,
        pool_size: int,
        groups: int,
        inner_ratio: float,
        stem_width: int | None,
    ) -> None:
        super().__init__()
        channels = widths[0] if stem_width is None else stem_width
        kernel, stride = (7, 2) if stem == "imagenet" else (3, 1)
        self.conv1 = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1) if max_pool else nn.Identity()
        for number, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
            blocks = []
            for index in range(depth):
                blocks.append(
                    ResidualBlock(
                        channels,
                        width,
                        2 if number > 1 and index == 0 else 1,
                        block=block,
                        shortcut=shortcut,
                        shortcut_name=shortcut_name,
                        groups=groups,
                        inner_ratio=inner_ratio,
                    )
                )
                channels = width * EXPANSION[block]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.stages = len(depths)
        self.avgpool = nn.AdaptiveAvgPool2d(pool_size)
        self.head_name = head_name
        self.add_module(head_name, nn.Linear(channels * pool_size**2, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, self.stages + 1):
            x = getattr(self, f"layer{number}")(x)
        return getattr(self, self.head_name)(self.avgpool(x).flatten(1))


def resnet(
    *,
    block: str = "basic",
    depths: Sequence[int] = (2, 2, 2, 2),
    widths: Sequence[int] = (64, 128, 256, 512),
    num_classes: int = 10,
    in_channels: int = 3,
    stem: str = "cifar",
    max_pool: bool | None = None,
    shortcut: str = "B",
    shortcut_name: str = "downsample",
    head_name: str = "fc",
    pool_size: int = 1,
    groups: int = 1,
    inner_ratio: float = 1.0,
    stem_width: int | None = None,
) -> ResNet:
    """A ResNet for images ``(N, in_channels, H, W)``; returns logits ``(N, num_classes)``.

    Args:
        block: ``"basic"`` or ``"bottleneck"``.
        depths: residual blocks of each stage.
        widths: channels of each stage before the expansion of a bottleneck (4).
        num_classes: outputs of the last layer.
        in_channels: 1 or 3.
        stem: ``"imagenet"`` (7x7 stride 2) or ``"cifar"`` (3x3 stride 1).
        max_pool: 3x3 stride 2 max pool after the stem; default: only with the ImageNet stem.
        shortcut: ``"A"`` (zero padding, no tensors) or ``"B"`` (1x1 convolution and BatchNorm).
        shortcut_name: ``"downsample"`` (torchvision) or ``"shortcut"`` (CIFAR code).
        head_name: ``"fc"`` (torchvision) or ``"linear"`` (CIFAR code).
        pool_size: height and width that average pooling leaves before the last layer.
        groups: groups of the 3x3 convolution of a bottleneck (ResNeXt).
        inner_ratio: inner width of a bottleneck over its stage width (2 in Wide-ResNet-50-2).
        stem_width: channels of the stem; default ``widths[0]``.
    """
    return ResNet(
        block=block,
        depths=depths,
        widths=widths,
        num_classes=num_classes,
        in_channels=in_channels,
        stem=stem,
        max_pool=stem == "imagenet" if max_pool is None else max_pool,
        shortcut=shortcut,
        shortcut_name=shortcut_name,
        head_name=head_name,
        pool_size=pool_size,
        groups=groups,
        inner_ratio=inner_ratio,
        stem_width=stem_width,
    )


_DEPTHS = {
    "resnet18": ("basic", (2, 2, 2, 2)),
    "resnet34": ("basic", (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
    "resnet101": ("bottleneck", (3, 4, 23, 3)),
    "resnet152": ("bottleneck", (3, 8, 36, 3)),
}
_CIFAR_NAMES = {"shortcut_name": "shortcut", "head_name": "linear"}


def _presets() -> dict[str, dict[str, Any]]:
    presets: dict[str, dict[str, Any]] = {}
    for name, (block, depths) in _DEPTHS.items():
        presets[name] = {"block": block, "depths": depths, "stem": "imagenet"}
        presets[f"{name}_cifar"] = {"block": block, "depths": depths, **_CIFAR_NAMES}
    for depth in (20, 32, 44, 56, 110):
        small = {"depths": ((depth - 2) // 6,) * 3, "widths": (16, 32, 64), **_CIFAR_NAMES}
        presets[f"resnet{depth}"] = {**small, "shortcut": "A"}
        presets[f"resnet{depth}_b"] = {**small, "shortcut": "B"}
    return presets


def _infer(shapes: Shapes) -> Guess | None:
    if "conv1.weight" not in shapes or "layer1.0.conv1.weight" not in shapes:
        return None
    head_name = "fc" if "fc.weight" in shapes else "linear"
    stem = shapes["conv1.weight"]
    if f"{head_name}.weight" not in shapes or len(stem) != 4:
        return None
    block = "bottleneck" if "layer1.0.conv3.weight" in shapes else "basic"
    depths = stage_depths(shapes, "layer{}.")
    last = "conv3" if block == "bottleneck" else "conv2"
    widths = []
    for number in range(1, len(depths) + 1):
        shape = shapes.get(f"layer{number}.0.{last}.weight")
        if shape is None:
            return None
        widths.append(shape[0] // EXPANSION[block])
    groups, inner_ratio = 1, 1.0
    if block == "bottleneck" and "layer1.0.conv2.weight" in shapes:
        inner, per_group = shapes["layer1.0.conv2.weight"][:2]
        groups, inner_ratio = inner // per_group, inner / max(widths[0], 1)
    projected = [name for name in shapes if ".shortcut.0." in name or ".downsample.0." in name]
    default = "shortcut" if head_name == "linear" else "downsample"
    classes, features = shapes[f"{head_name}.weight"]
    pool_size = square_side(features, widths[-1] * EXPANSION[block]) or 1
    kind = "imagenet" if stem[2] == 7 else "cifar"
    parameters: dict[str, Any] = {
        "block": block,
        "depths": depths,
        "widths": tuple(widths),
        "num_classes": classes,
        "in_channels": stem[1],
        "stem": kind,
        "shortcut": "B" if projected else "A",
        "shortcut_name": projected[0].split(".")[2] if projected else default,
        "head_name": head_name,
        "pool_size": pool_size,
        "groups": groups,
        "inner_ratio": inner_ratio,
        "stem_width": stem[0],
    }
    readings = (
        Reading("no max pool after the stem", {"max_pool": False}),
        Reading("max pool after the stem", {"max_pool": True}),
    )
    layers = sum(depths) * (3 if block == "bottleneck" else 2) + 2
    size = 224 if kind == "imagenet" else 32 * pool_size
    return Guess(
        f"resnet{layers}", parameters, stem[1], size, () if kind == "imagenet" else readings
    )


FAMILY = Family("resnet", resnet, _infer, _presets())
