"""VGG (Simonyan and Zisserman, ICLR 2015): torchvision names, or one linear layer (CIFAR)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rnp_core.architectures.base import Family, Guess, Shapes, square_side

Layout = Sequence["int | str"]  # channels of a 3x3 convolution, or "M" for a 2x2 max pool

_LAYOUTS: dict[str, tuple[int | str, ...]] = {
    "vgg11": (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg13": (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg16": (64, 64, "M", 128, 128, "M", *(256,) * 3, "M", *(512,) * 3, "M", *(512,) * 3, "M"),
    "vgg19": (64, 64, "M", 128, 128, "M", *(256,) * 4, "M", *(512,) * 4, "M", *(512,) * 4, "M"),
}


class VGG(nn.Module):
    """Stacked 3x3 convolutions; see :func:`vgg` for the arguments."""

    def __init__(
        self,
        *,
        layout: Layout,
        batch_norm: bool,
        hidden: Sequence[int],
        num_classes: int,
        in_channels: int,
        pool_size: int,
        head_name: str,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for item in layout:
            if isinstance(item, str):
                layers.append(nn.MaxPool2d(2))
                continue
            layers.append(nn.Conv2d(channels, item, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(item))
            layers.append(nn.ReLU())
            channels = item
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(pool_size)
        features = channels * pool_size**2
        head: list[nn.Module] = []
        for width in hidden:
            head += [nn.Linear(features, width), nn.ReLU(), nn.Dropout()]
            features = width
        last = nn.Linear(features, num_classes)
        self.head_name = head_name
        self.add_module(head_name, nn.Sequential(*head, last) if hidden else last)

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.head_name)(self.avgpool(self.features(x)).flatten(1))


def vgg(
    *,
    layout: Layout = _LAYOUTS["vgg16"],
    batch_norm: bool = True,
    hidden: Sequence[int] = (),
    num_classes: int = 10,
    in_channels: int = 3,
    pool_size: int = 1,
    head_name: str = "classifier",
) -> VGG:
    """A VGG for images ``(N, in_channels, H, W)``; returns logits ``(N, num_classes)``.

    Args:
        layout: channels of each 3x3 convolution, and ``"M"`` for each 2x2 max pool.
        batch_norm: BatchNorm after each convolution.
        hidden: widths of the hidden linear layers; ``(4096, 4096)`` in the paper, none for CIFAR.
        num_classes: outputs of the last layer.
        in_channels: 1 or 3.
        pool_size: height and width that average pooling leaves: 7 with hidden layers, else 1.
        head_name: name of the linear part.
    """
    return VGG(
        layout=layout,
        batch_norm=batch_norm,
        hidden=hidden,
        num_classes=num_classes,
        in_channels=in_channels,
        pool_size=pool_size,
        head_name=head_name,
    )


def read_layout(shapes: Shapes, indices: Sequence[int], step: int) -> tuple[int | str, ...]:
    """The layout of ``features``: convolutions at ``indices``, pools where one index is left free.

    ``step`` is the distance of two neighbouring convolutions: 3 with BatchNorm, else 2. The last
    block ends in a pool, which the tensors cannot show.
    """
    layout: list[int | str] = []
    for position, index in enumerate(indices):
        layout.append(shapes[f"features.{index}.weight"][0])
        following = indices[position + 1] if position + 1 < len(indices) else index + step + 1
        if following - index == step + 1:
            layout.append("M")
    return tuple(layout)


def _infer(shapes: Shapes) -> Guess | None:
    weights = [name for name in shapes if name.startswith("features.") and name.count(".") == 2]
    indices = sorted(
        int(name.split(".")[1])
        for name in weights
        if name.endswith(".weight") and len(shapes[name]) == 4 and name.split(".")[1].isdigit()
    )
    if not indices or indices[0] != 0 or shapes["features.0.weight"][2:] != (3, 3):
        return None
    head_name = next((n for n in ("classifier", "fc", "linear") if _head(shapes, n)), None)
    if head_name is None:
        return None
    batch_norm = "features.1.running_mean" in shapes
    linear = _head(shapes, head_name)
    layout = read_layout(shapes, indices, 3 if batch_norm else 2)
    channels = shapes[f"features.{indices[-1]}.weight"][0]
    features = linear[0][1]
    pool_size = square_side(features, channels) or 1
    in_channels = shapes["features.0.weight"][1]
    parameters: dict[str, Any] = {
        "layout": layout,
        "batch_norm": batch_norm,
        "hidden": tuple(shape[0] for shape in linear[:-1]),
        "num_classes": linear[-1][0],
        "in_channels": in_channels,
        "pool_size": pool_size,
        "head_name": head_name,
    }
    size = pool_size * 2 ** layout.count("M")
    name = f"vgg{len(indices) + 3}{'_bn' if batch_norm else ''}"
    return Guess(name, parameters, in_channels, size)


def _head(shapes: Shapes, name: str) -> list[tuple[int, ...]]:
    """Shapes of the linear layers below ``name``, first to last."""
    if len(shapes.get(f"{name}.weight", ())) == 2:
        return [shapes[f"{name}.weight"]]
    inside = (key.split(".") for key in shapes if key.startswith(f"{name}."))
    numbers = sorted({int(parts[1]) for parts in inside if parts[1].isdigit()})
    found = [shapes.get(f"{name}.{number}.weight", ()) for number in numbers]
    return found if all(len(shape) == 2 for shape in found) else []


def _presets() -> dict[str, dict[str, Any]]:
    presets: dict[str, dict[str, Any]] = {}
    imagenet = {"hidden": (4096, 4096), "pool_size": 7}
    for name, layout in _LAYOUTS.items():
        presets[name] = {"layout": layout, "batch_norm": False, **imagenet}
        presets[f"{name}_bn"] = {"layout": layout, "batch_norm": True, **imagenet}
        presets[f"{name}_cifar"] = {"layout": layout, "batch_norm": True}
    return presets


FAMILY = Family("vgg", vgg, _infer, _presets())
