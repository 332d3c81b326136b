"""Pre-activation ResNet (He et al., ECCV 2016) for CIFAR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rnp_core.architectures.base import Family, Guess, Shapes, square_side, stage_depths
from rnp_core.architectures.resnet import EXPANSION


class PreActBlock(nn.Module):
    """BatchNorm and ReLU before each convolution; the projection reads the activated input."""

    def __init__(self, in_channels: int, width: int, stride: int, block: str) -> None:
        super().__init__()
        out_channels = width * EXPANSION[block]
        self.bn1 = nn.BatchNorm2d(in_channels)
        if block == "basic":
            self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        else:
            self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(width)
            self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.block = block
        self.relu = nn.ReLU()
        self.shortcut: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu(self.bn1(x))
        skip = x if self.shortcut is None else self.shortcut(activated)
        out = self.conv2(self.relu(self.bn2(self.conv1(activated))))
        if self.block == "bottleneck":
            out = self.conv3(self.relu(self.bn3(out)))
        return out + skip


class PreActResNet(nn.Module):
    """Pre-activation residual network; see :func:`preact_resnet` for the arguments."""

    def __init__(
        self,
        *,
        block: str,
        depths: Sequence[int],
        widths: Sequence[int],
        num_classes: int,
        in_channels: int,
        pool_size: int,
        final_norm: str | None,
        head_name: str,
    ) -> None:
        super().__init__()
        channels = widths[0]
        self.conv1 = nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False)
        for number, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
            blocks = []
            for index in range(depth):
                stride = 2 if number > 1 and index == 0 else 1
                blocks.append(PreActBlock(channels, width, stride, block))
                channels = width * EXPANSION[block]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.stages = len(depths)
        self.final_norm = final_norm
        if final_norm is not None:
            self.add_module(final_norm, nn.BatchNorm2d(channels))
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(pool_size)
        self.head_name = head_name
        self.add_module(head_name, nn.Linear(channels * pool_size**2, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for number in range(1, self.stages + 1):
            x = getattr(self, f"layer{number}")(x)
        if self.final_norm is not None:
            x = self.relu(getattr(self, self.final_norm)(x))
        return getattr(self, self.head_name)(self.avgpool(x).flatten(1))


def preact_resnet(
    *,
    block: str = "basic",
    depths: Sequence[int] = (2, 2, 2, 2),
    widths: Sequence[int] = (64, 128, 256, 512),
    num_classes: int = 10,
    in_channels: int = 3,
    pool_size: int = 1,
    final_norm: str | None = None,
    head_name: str = "linear",
) -> PreActResNet:
    """A pre-activation ResNet for images ``(N, in_channels, H, W)``; returns logits.

    Args:
        block: ``"basic"`` or ``"bottleneck"``.
        depths: residual blocks of each stage.
        widths: channels of each stage before the expansion of a bottleneck (4).
        num_classes: outputs of the last layer.
        in_channels: 1 or 3.
        pool_size: height and width that average pooling leaves before the last layer.
        final_norm: name of the BatchNorm (followed by ReLU) after the last block. The paper has
            it; most CIFAR code leaves it out, hence the default None.
        head_name: name of the last layer.
    """
    return PreActResNet(
        block=block,
        depths=depths,
        widths=widths,
        num_classes=num_classes,
        in_channels=in_channels,
        pool_size=pool_size,
        final_norm=final_norm,
        head_name=head_name,
    )


def _infer(shapes: Shapes) -> Guess | None:
    first = shapes.get("layer1.0.bn1.weight")
    stem = shapes.get("conv1.weight")
    head_name = next((name for name in ("linear", "fc") if f"{name}.weight" in shapes), None)
    if first is None or stem is None or len(stem) != 4 or head_name is None:
        return None
    block = "bottleneck" if "layer1.0.conv3.weight" in shapes else "basic"
    depths = stage_depths(shapes, "layer{}.")
    widths = [shapes[f"layer{number}.0.conv1.weight"][0] for number in range(1, len(depths) + 1)]
    classes, features = shapes[f"{head_name}.weight"]
    channels = widths[-1] * EXPANSION[block]
    norms = [name for name in ("bn", "bn1", "norm", "bn2") if f"{name}.weight" in shapes]
    norms = [name for name in norms if shapes[f"{name}.weight"] == (channels,)]
    pool_size = square_side(features, channels) or 1
    parameters: dict[str, Any] = {
        "block": block,
        "depths": depths,
        "widths": tuple(widths),
        "num_classes": classes,
        "in_channels": stem[1],
        "pool_size": pool_size,
        "final_norm": norms[0] if norms else None,
        "head_name": head_name,
    }
    layers = sum(depths) * (3 if block == "bottleneck" else 2) + 2
    return Guess(f"preactresnet{layers}", parameters, stem[1], 32 * pool_size)


_PRESETS: dict[str, dict[str, Any]] = {
    "preactresnet18": {"depths": (2, 2, 2, 2)},
    "preactresnet34": {"depths": (3, 4, 6, 3)},
    "preactresnet50": {"depths": (3, 4, 6, 3), "block": "bottleneck"},
}

FAMILY = Family("preactresnet", preact_resnet, _infer, _PRESETS)
