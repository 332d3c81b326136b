"""EfficientNet-B0 to B7 (Tan and Le, ICML 2019) with torchvision's tensor names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rnp_core.architectures.base import Family, Guess, Shapes, count_indices

_STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the first block of each stage


class SqueezeExcitation(nn.Module):
    """Scales each channel by a value in [0, 1] computed from the channel means."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.SiLU()
        self.scale = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale(self.fc2(self.activation(self.fc1(self.avgpool(x)))))


class MBConv(nn.Module):
    """Expand (unless there is nothing to expand), depthwise, squeeze-excitation, project."""

    def __init__(
        self, before: int, hidden: int, after: int, kernel: int, stride: int, eps: float
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hidden != before:
            layers.append(_conv_bn(before, hidden, 1, 1, eps))
        layers += [
            _conv_bn(hidden, hidden, kernel, stride, eps, groups=hidden),
            SqueezeExcitation(hidden, max(1, before // 4)),
            _conv_bn(hidden, after, 1, 1, eps)[:2],
        ]
        self.block = nn.Sequential(*layers)
        self.residual = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.residual else self.block(x)


class EfficientNet(nn.Module):
    """Seven stages of :class:`MBConv`; see :func:`efficientnet` for the arguments."""

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        kernels: Sequence[int],
        expansions: Sequence[int],
        stem_width: int,
        last_width: int,
        num_classes: int,
        in_channels: int,
        norm_eps: float,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv_bn(in_channels, stem_width, 3, 2, norm_eps)]
        channels = stem_width
        stages = zip(depths, widths, kernels, expansions, _STRIDES, strict=True)
        for depth, width, kernel, expansion, first_stride in stages:
            blocks = []
            for index in range(depth):
                stride = first_stride if index == 0 else 1
                hidden = channels * expansion
                blocks.append(MBConv(channels, hidden, width, kernel, stride, norm_eps))
                channels = width
            layers.append(nn.Sequential(*blocks))
        layers.append(_conv_bn(channels, last_width, 1, 1, norm_eps))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last_width, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def efficientnet(
    *,
    depths: Sequence[int] = (1, 2, 2, 3, 3, 4, 1),
    widths: Sequence[int] = (16, 24, 40, 80, 112, 192, 320),
    kernels: Sequence[int] = (3, 3, 5, 3, 5, 5, 3),
    expansions: Sequence[int] = (1, 6, 6, 6, 6, 6, 6),
    stem_width: int = 32,
    last_width: int = 1280,
    num_classes: int = 1000,
    in_channels: int = 3,
    norm_eps: float = 1e-5,
) -> EfficientNet:
    """An EfficientNet for images ``(N, in_channels, H, W)``; returns logits ``(N, num_classes)``.

    Args:
        depths: blocks of each of the seven stages.
        widths: output channels of each stage.
        kernels: kernel size of the depthwise convolutions of each stage.
        expansions: hidden over input channels of the blocks of each stage.
        stem_width: channels of the first convolution.
        last_width: channels of the last 1x1 convolution.
        num_classes: outputs of the last layer.
        in_channels: 1 or 3.
        norm_eps: epsilon of BatchNorm; torchvision uses 1e-3 from B5 on.
    """
    return EfficientNet(
        depths,
        widths,
        kernels,
        expansions,
        stem_width,
        last_width,
        num_classes,
        in_channels,
        norm_eps,
    )


def _conv_bn(
    before: int, after: int, kernel: int, stride: int, eps: float, groups: int = 1
) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after, eps=eps), nn.SiLU())


def _infer(shapes: Shapes) -> Guess | None:
    if "features.1.0.block.1.fc1.weight" not in shapes or "classifier.1.weight" not in shapes:
        return None
    last = count_indices(shapes, "features.") - 1
    if last != len(_STRIDES) + 1:
        return None
    depths, widths, kernels, expansions = [], [], [], []
    for stage in range(1, last):
        block = f"features.{stage}.0.block"
        steps = count_indices(shapes, f"{block}.")
        first = shapes[f"{block}.0.0.weight"]
        depths.append(count_indices(shapes, f"features.{stage}."))
        widths.append(shapes[f"{block}.{steps - 1}.0.weight"][0])
        kernels.append(shapes[f"{block}.{steps - 3}.0.weight"][2])
        expansions.append(first[0] // first[1] if steps == 4 else 1)
    stem = shapes["features.0.0.weight"]
    parameters: dict[str, Any] = {
        "depths": tuple(depths),
        "widths": tuple(widths),
        "kernels": tuple(kernels),
        "expansions": tuple(expansions),
        "stem_width": stem[0],
        "last_width": shapes[f"features.{last}.0.weight"][0],
        "num_classes": shapes["classifier.1.weight"][0],
        "in_channels": stem[1],
        "norm_eps": 1e-3 if depths[0] > 2 else 1e-5,
    }
    name = "efficientnet_b0" if tuple(depths) == (1, 2, 2, 3, 3, 4, 1) else "efficientnet"
    return Guess(name, parameters, stem[1], 224)


FAMILY = Family("efficientnet", efficientnet, _infer, {"efficientnet_b0": {}})
