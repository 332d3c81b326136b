"""Wide ResNet (Zagoruyko and Komodakis, BMVC 2016) for CIFAR, with ``blockN.layer.M`` names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rnp_core.architectures.base import Family, Guess, Shapes, square_side, stage_depths


class WideBlock(nn.Module):
    """Pre-activation basic block; where the channels change, the skip path is projected.

    The projection reads the activated input, and the block computes ``bn1`` once. Where the
    channels stay the same the skip path is the raw input.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.relu = nn.ReLU()
        self.shortcut_name = shortcut
        self.changes = in_channels != out_channels
        if self.changes:
            self.add_module(shortcut, nn.Conv2d(in_channels, out_channels, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu(self.bn1(x))
        skip = getattr(self, self.shortcut_name)(activated) if self.changes else x
        return self.conv2(self.relu(self.bn2(self.conv1(activated)))) + skip


class WideGroup(nn.Module):
    """The blocks of one resolution, under the name ``layer``."""

    def __init__(
        self, depth: int, in_channels: int, out_channels: int, stride: int, shortcut: str
    ) -> None:
        super().__init__()
        blocks = [WideBlock(in_channels, out_channels, stride, shortcut)]
        blocks += [WideBlock(out_channels, out_channels, 1, shortcut) for _ in range(depth - 1)]
        self.layer = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class WideResNet(nn.Module):
    """Wide residual network; see :func:`wide_resnet` for the arguments."""

    def __init__(
        self,
        *,
        depths: Sequence[int],
        widths: Sequence[int],
        num_classes: int,
        in_channels: int,
        stem_width: int,
        pool_size: int,
        shortcut_name: str,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, stem_width, 3, 1, 1, bias=False)
        channels = stem_width
        for number, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
            group = WideGroup(depth, channels, width, 1 if number == 1 else 2, shortcut_name)
            self.add_module(f"block{number}", group)
            channels = width
        self.groups = len(depths)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(pool_size)
        self.fc = nn.Linear(channels * pool_size**2, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for number in range(1, self.groups + 1):
            x = getattr(self, f"block{number}")(x)
        return self.fc(self.avgpool(self.relu(self.bn1(x))).flatten(1))


def wide_resnet(
    *,
    depths: Sequence[int] = (2, 2, 2),
    widths: Sequence[int] = (16, 32, 64),
    num_classes: int = 10,
    in_channels: int = 3,
    stem_width: int = 16,
    pool_size: int = 1,
    shortcut_name: str = "convShortcut",
) -> WideResNet:
    """A Wide ResNet for images ``(N, in_channels, H, W)``; returns logits ``(N, num_classes)``.

    Args:
        depths: blocks of each of the three groups; WRN-d-k has ``(d - 4) / 6`` in each.
        widths: channels of the groups, ``(16 k, 32 k, 64 k)``.
        num_classes: outputs of the last layer.
        in_channels: 1 or 3.
        stem_width: channels of the first convolution.
        pool_size: height and width that average pooling leaves before the last layer.
        shortcut_name: name of the projections.
    """
    return WideResNet(
        depths=depths,
        widths=widths,
        num_classes=num_classes,
        in_channels=in_channels,
        stem_width=stem_width,
        pool_size=pool_size,
        shortcut_name=shortcut_name,
    )


def _infer(shapes: Shapes) -> Guess | None:
    stem, head = shapes.get("conv1.weight"), shapes.get("fc.weight")
    if "block1.layer.0.conv1.weight" not in shapes or stem is None or head is None:
        return None
    depths = stage_depths(shapes, "block{}.layer.")
    widths = [shapes[f"block{n}.layer.0.conv1.weight"][0] for n in range(1, len(depths) + 1)]
    parts = [name.split(".") for name in shapes if name.startswith("block")]
    names = {part[3] for part in parts if len(part) > 3}
    projections = sorted(names - {"bn1", "conv1", "bn2", "conv2"})
    pool_size = square_side(head[1], widths[-1]) or 1
    parameters: dict[str, Any] = {
        "depths": depths,
        "widths": tuple(widths),
        "num_classes": head[0],
        "in_channels": stem[1],
        "stem_width": stem[0],
        "pool_size": pool_size,
        "shortcut_name": projections[0] if projections else "convShortcut",
    }
    factor = widths[0] / stem[0]
    name = f"wrn{6 * depths[0] + 4}-{factor:g}"
    return Guess(name, parameters, stem[1], 32 * pool_size)


def _preset(depth: int, factor: int) -> dict[str, Any]:
    return {"depths": ((depth - 4) // 6,) * 3, "widths": (16 * factor, 32 * factor, 64 * factor)}


_PRESETS = {
    f"wrn{depth}-{factor}": _preset(depth, factor)
    for depth, factor in ((16, 1), (16, 2), (16, 4), (28, 10), (40, 1), (40, 2), (40, 4))
}

FAMILY = Family("wrn", wide_resnet, _infer, _PRESETS)
