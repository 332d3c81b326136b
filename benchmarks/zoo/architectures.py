"""The networks of the zoo in three widths, all for 32x32 images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from rnp_core.architectures import build
from rnp_core.architectures.mobilenet import TABLE, Block
from rnp_core.architectures.plain import Layer
from rnp_core.errors import ConfigError

WIDTHS = ("tiny", "narrow", "full")


def _mobile(stem: int, expansion: int, channels: tuple[int, ...], last: int) -> dict[str, Any]:
    """The 17 blocks of MobileNetV2 with other channels; one entry of ``channels`` a group."""
    blocks: list[Block] = []
    before = stem
    for index, ((_, _, count, _), after) in enumerate(zip(TABLE, channels, strict=True)):
        for _ in range(count):
            blocks.append((before * (expansion if index else 1), after))
            before = after
    return {"blocks": tuple(blocks), "stem_width": stem, "last_width": last}


def _vit(width: int, depth: int, patch_size: int) -> dict[str, Any]:
    return {
        "image_size": 32,
        "patch_size": patch_size,
        "width": width,
        "depth": depth,
        "heads": 4,
        "hidden": 2 * width,
    }


def _plain(channels: tuple[int, ...], hidden: int) -> dict[str, Any]:
    """Convolutions without BatchNorm, each with a ReLU and a pool, then two linear layers."""
    before = (3, *channels)
    convolutions = [
        Layer(f"conv{index + 1}", "conv", (after, before[index], 3, 3), padding=1, pool=True)
        for index, after in enumerate(channels)
    ]
    flat = channels[-1] * (32 >> len(channels)) ** 2
    linear = Layer("fc1", "linear", (hidden, flat))
    last = Layer("fc2", "linear", (10, hidden), activate=False)
    return {"layers": (*convolutions, linear, last)}


_NAMES = {
    "resnet": "resnet18_cifar",
    "preactresnet": "preactresnet18",
    "vgg": "vgg16_cifar",
    "mobilenetv2": "mobilenet_v2_cifar",
    "vit": "vit_b_16",
    "plain": "plain_cnn",
}
_PARAMETERS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "resnet": {
        "tiny": {"widths": (8, 16, 32, 64), "depths": (1, 1, 1, 1)},
        "narrow": {"widths": (12, 24, 48, 96)},
        "full": {},
    },
    "preactresnet": {
        "tiny": {"widths": (8, 16, 32, 64), "depths": (1, 1, 1, 1), "final_norm": "bn"},
        "narrow": {"widths": (12, 24, 48, 96), "final_norm": "bn"},
        "full": {"final_norm": "bn"},
    },
    "vgg": {
        "tiny": {"layout": (16, "M", 32, 32, "M", 48, 48, "M", 64, "M")},
        "narrow": {"layout": (24, 24, "M", 48, 48, "M", 96, 96, "M", 128, 128, "M")},
        "full": {},
    },
    "mobilenetv2": {
        "tiny": _mobile(8, 2, (8, 8, 16, 24, 32, 48, 64), 96),
        "narrow": _mobile(16, 4, (8, 12, 16, 32, 48, 80, 160), 320),
        "full": {},
    },
    "vit": {"tiny": _vit(64, 2, 8), "narrow": _vit(96, 6, 4), "full": _vit(256, 8, 4)},
    "plain": {
        "tiny": _plain((24, 48, 64, 64), 96),
        "narrow": _plain((32, 64, 128), 256),
        "full": _plain((64, 128, 256), 512),
    },
}
ARCHITECTURES = tuple(_PARAMETERS)
"""A CIFAR ResNet-18 and PreActResNet-18 (10 layers when tiny), a VGG with BatchNorm (VGG-16 when
full), a MobileNetV2, a small ViT, and a plain CNN without BatchNorm."""


def build_network(architecture: str, width: str, *, num_classes: int) -> nn.Module:
    """A network with random weights for images ``(N, 3, 32, 32)``.

    Raises:
        ConfigError: for an unknown architecture or width.
    """
    if architecture not in ARCHITECTURES or width not in WIDTHS:
        raise ConfigError(
            f"expected an architecture among {', '.join(ARCHITECTURES)} and a width among "
            f"{', '.join(WIDTHS)}, got {architecture!r} and {width!r}"
        )
    parameters = _PARAMETERS[architecture][width]
    return build(_NAMES[architecture], num_classes=num_classes, **parameters)
