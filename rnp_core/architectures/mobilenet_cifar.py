"""MobileNetV2 as CIFAR code writes it: ``layers.N``, a projected skip path, ``linear``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rnp_core.architectures.base import Family, Guess, Shapes, count_indices, square_side
from rnp_core.architectures.mobilenet import CIFAR_STRIDES, Block, standard_blocks


class CifarInvertedResidual(nn.Module):
    """Expand, depthwise 3x3, project; every block of stride 1 has a skip path."""

    def __init__(self, before: int, hidden: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU()
        self.stride = stride
        self.shortcut = nn.Sequential()
        if stride == 1 and before != after:
            projection = nn.Conv2d(before, after, 1, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return out + self.shortcut(x) if self.stride == 1 else out


class CifarMobileNetV2(nn.Module):
    """Inverted residual network; see :func:`mobilenet_v2_cifar` for the arguments."""

    def __init__(
        self,
        blocks: Sequence[Block],
        strides: Sequence[int],
        stem_width: int,
        last_width: int,
        num_classes: int,
        in_channels: int,
        pool_size: int,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, stem_width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem_width)
        layers, channels = [], stem_width
        for (hidden, after), stride in zip(blocks, strides, strict=True):
            layers.append(CifarInvertedResidual(channels, hidden, after, stride))
            channels = after
        self.layers = nn.Sequential(*layers)
        self.conv2 = nn.Conv2d(channels, last_width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(last_width)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(pool_size)
        self.linear = nn.Linear(last_width * pool_size**2, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(self.relu(self.bn1(self.conv1(x))))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.linear(self.avgpool(x).flatten(1))


def mobilenet_v2_cifar(
    *,
    blocks: Sequence[Block] = standard_blocks(),  # noqa: B008 - a constant tuple
    strides: Sequence[int] = CIFAR_STRIDES,
    stem_width: int = 32,
    last_width: int = 1280,
    num_classes: int = 10,
    in_channels: int = 3,
    pool_size: int = 1,
) -> CifarMobileNetV2:
    """A MobileNetV2 for small images ``(N, in_channels, H, W)``; returns logits.

    The arguments are those of :func:`rnp_core.architectures.mobilenet.mobilenet_v2`; ``pool_size``
    is the height and width that average pooling leaves before the last layer.
    """
    return CifarMobileNetV2(
        blocks, strides, stem_width, last_width, num_classes, in_channels, pool_size
    )


def _infer(shapes: Shapes) -> Guess | None:
    if "layers.0.conv3.weight" not in shapes or "linear.weight" not in shapes:
        return None
    count = count_indices(shapes, "layers.")
    blocks = [
        (shapes[f"layers.{i}.conv1.weight"][0], shapes[f"layers.{i}.conv3.weight"][0])
        for i in range(count)
    ]
    strides = CIFAR_STRIDES if count == len(CIFAR_STRIDES) else (1,) * count
    stem, last = shapes["conv1.weight"], shapes["conv2.weight"][0]
    classes, features = shapes["linear.weight"]
    pool_size = square_side(features, last) or 1
    parameters: dict[str, Any] = {
        "blocks": tuple(blocks),
        "strides": strides,
        "stem_width": stem[0],
        "last_width": last,
        "num_classes": classes,
        "in_channels": stem[1],
        "pool_size": pool_size,
    }
    return Guess("mobilenet_v2_cifar", parameters, stem[1], 32 * pool_size)


FAMILY = Family("mobilenet_v2_cifar", mobilenet_v2_cifar, _infer, {"mobilenet_v2_cifar": {}})
