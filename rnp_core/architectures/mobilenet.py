"""MobileNetV2 (Sandler et al., CVPR 2018) with torchvision's tensor names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rnp_core.architectures.base import Family, Guess, Reading, Shapes, count_indices

Block = tuple[int, int]  # hidden channels (expanded), output channels

# expansion, channels, blocks, stride of the first block: table 2 of the paper
TABLE = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STRIDES = tuple(s if index == 0 else 1 for _, _, n, s in TABLE for index in range(n))
CIFAR_STRIDES = (1, 1, *STRIDES[2:])  # the first group of stride 2 keeps the resolution


def standard_blocks(stem: int = 32) -> tuple[Block, ...]:
    """Hidden and output channels of the 17 blocks of the paper (width 1)."""
    blocks, channels = [], stem
    for expansion, after, count, _ in TABLE:
        for _ in range(count):
            blocks.append((channels * expansion, after))
            channels = after
    return tuple(blocks)


def _conv_bn(before: int, after: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Expand (unless there is nothing to expand), depthwise 3x3, project."""

    def __init__(self, before: int, hidden: int, after: int, stride: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [] if hidden == before else [_conv_bn(before, hidden, 1, 1)]
        layers += [
            _conv_bn(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, after, 1, bias=False),
            nn.BatchNorm2d(after),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """Inverted residual network; see :func:`mobilenet_v2` for the arguments."""

    def __init__(
        self,
        blocks: Sequence[Block],
        strides: Sequence[int],
        stem_width: int,
        stem_stride: int,
        last_width: int,
        num_classes: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv_bn(in_channels, stem_width, 3, stem_stride)]
        channels = stem_width
        for (hidden, after), stride in zip(blocks, strides, strict=True):
            layers.append(InvertedResidual(channels, hidden, after, stride))
            channels = after
        layers.append(_conv_bn(channels, last_width, 1, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last_width, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def mobilenet_v2(
    *,
    blocks: Sequence[Block] = standard_blocks(),  # noqa: B008 - a constant tuple
    strides: Sequence[int] = STRIDES,
    stem_width: int = 32,
    stem_stride: int = 2,
    last_width: int = 1280,
    num_classes: int = 1000,
    in_channels: int = 3,
) -> MobileNetV2:
    """A MobileNetV2 for images ``(N, in_channels, H, W)``; returns logits ``(N, num_classes)``.

    Args:
        blocks: hidden and output channels of each block.
        strides: stride of each block.
        stem_width: channels of the first convolution.
        stem_stride: 2 for ImageNet, 1 for CIFAR.
        last_width: channels of the last 1x1 convolution.
        num_classes: outputs of the last layer.
        in_channels: 1 or 3.
    """
    return MobileNetV2(
        blocks, strides, stem_width, stem_stride, last_width, num_classes, in_channels
    )


def _infer(shapes: Shapes) -> Guess | None:
    if "features.1.conv.0.0.weight" not in shapes or "classifier.1.weight" not in shapes:
        return None
    last = count_indices(shapes, "features.") - 1
    blocks = []
    for index in range(1, last):
        expanded = f"features.{index}.conv.1.0.weight" in shapes
        project = shapes[f"features.{index}.conv.{2 if expanded else 1}.weight"]
        blocks.append((shapes[f"features.{index}.conv.0.0.weight"][0], project[0]))
    stem = shapes["features.0.0.weight"]
    known = len(blocks) == len(STRIDES)
    parameters: dict[str, Any] = {
        "blocks": tuple(blocks),
        "strides": STRIDES if known else (1,) * len(blocks),
        "stem_width": stem[0],
        "last_width": shapes[f"features.{last}.0.weight"][0],
        "num_classes": shapes["classifier.1.weight"][0],
        "in_channels": stem[1],
    }
    small = {"strides": CIFAR_STRIDES, "stem_stride": 1}
    readings = (
        Reading("strides of the paper", {}),
        Reading("strides for 32x32 images", small, 32),
    )
    return Guess("mobilenet_v2", parameters, stem[1], 224, readings if known else ())


_PRESETS: dict[str, dict[str, Any]] = {
    "mobilenet_v2": {},
    "mobilenet_v2_small_images": {"strides": CIFAR_STRIDES, "stem_stride": 1},
}

FAMILY = Family("mobilenet_v2", mobilenet_v2, _infer, _PRESETS)
