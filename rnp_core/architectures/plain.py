"""Plain networks: convolutions, BatchNorm and linear layers one after the other.

The tensors of such a network say nothing about its activation, pooling, padding or a final
softmax, so all of that is an argument here; :mod:`rnp_core.architectures.plain_guess` finds the
values that fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from rnp_core.architectures.base import square_side

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "ReLU": nn.ReLU,
    "ELU": nn.ELU,
    # slope 0.1: a network trained with 0.01 works as well with ReLU
    "LeakyReLU": partial(nn.LeakyReLU, 0.1),
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "Tanh": nn.Tanh,
}
POOLS: dict[str, type[nn.MaxPool2d] | type[nn.AvgPool2d]] = {
    "max": nn.MaxPool2d,
    "average": nn.AvgPool2d,
}


@dataclass(frozen=True)
class Layer:
    """One layer with tensors, and the parameter-free steps after it.

    Attributes:
        name: dotted path of the module, for example ``"features.0"``.
        kind: ``"conv"``, ``"norm"`` or ``"linear"``.
        shape: shape of the weight (of the running mean for a norm).
        bias: whether there is a bias (for a norm: whether it is affine).
        stride: stride of a convolution.
        padding: zero padding of a convolution, in pixels.
        activate: the activation follows.
        pool: a 2x2 pool of stride 2 follows.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    bias: bool = True
    stride: int = 1
    padding: int = 0
    activate: bool = True
    pool: bool = False


class PlainNetwork(nn.Module):
    """Layers in a row; see :func:`plain` for the arguments."""

    def __init__(
        self, layers: Sequence[Layer], activation: str, pool: str, pool_size: int | None
    ) -> None:
        super().__init__()
        self._steps = tuple(layers)
        self._activation = ACTIVATIONS[activation]()
        self._pool = POOLS[pool](2)
        self._before_flatten = (
            nn.Identity() if pool_size is None else nn.AdaptiveAvgPool2d(pool_size)
        )
        channels, flat = 0, False
        module: nn.Module
        for layer in self._steps:
            if layer.kind == "conv":
                channels = channels or layer.shape[1]
                module = _conv(layer, channels)
                channels = layer.shape[0]
            elif layer.kind == "linear":
                module = nn.Linear(layer.shape[1], layer.shape[0], bias=layer.bias)
                flat = True
            else:
                norm = nn.BatchNorm1d if flat else nn.BatchNorm2d
                module = norm(layer.shape[0], affine=layer.bias)
            _place(self, layer.name, module)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self._steps:
            if layer.kind == "linear" and x.ndim == 4:
                x = self._before_flatten(x).flatten(1)
            x = self.get_submodule(layer.name)(x)
            if layer.activate:
                x = self._activation(x)
            if layer.pool:
                x = self._pool(x)
        return x


def plain(
    *,
    layers: Sequence[Layer],
    num_classes: int | None = None,
    in_channels: int | None = None,
    activation: str = "ReLU",
    pool: str = "max",
    pool_size: int | None = None,
) -> PlainNetwork:
    """A plain CNN or MLP for images ``(N, in_channels, H, W)``; returns logits.

    There is no softmax at the end: where the original network had one, its probabilities are the
    softmax of these logits.

    Args:
        layers: in the order of the forward pass; at least one is linear, and it comes last.
        num_classes: outputs of the last layer; default as in ``layers``.
        in_channels: 1 or 3; default as in ``layers``.
        activation: a key of ``ACTIVATIONS``.
        pool: ``"max"`` or ``"average"``.
        pool_size: height and width that average pooling leaves before the first linear layer;
            default: no such pooling.
    """
    layers = list(layers)
    if in_channels is not None:
        layers[0] = replace(layers[0], shape=_first_shape(layers[0], in_channels))
    if num_classes is not None:
        layers[-1] = replace(layers[-1], shape=(num_classes, layers[-1].shape[1]))
    return PlainNetwork(layers, activation, pool, pool_size)


def image_shape(features: int) -> tuple[int, int] | None:
    """Channels and side of the square image with so many values; three channels where possible."""
    for channels in (3, 1):
        side = square_side(features, channels)
        if side is not None and side > 1:
            return channels, side
    return None


def _first_shape(layer: Layer, in_channels: int) -> tuple[int, ...]:
    if layer.kind == "conv":
        return (layer.shape[0], in_channels, *layer.shape[2:])
    image = image_shape(layer.shape[1])
    return (layer.shape[0], in_channels * image[1] ** 2 if image else layer.shape[1])


def _conv(layer: Layer, channels: int) -> nn.Conv2d:
    out, per_group, height, width = layer.shape
    return nn.Conv2d(
        channels,
        out,
        (height, width),
        stride=layer.stride,
        padding=layer.padding,
        groups=channels // per_group,
        bias=layer.bias,
    )


def _place(root: nn.Module, path: str, module: nn.Module) -> None:
    *parents, leaf = path.split(".")
    for name in parents:
        if name not in root._modules:
            root.add_module(name, nn.Module())
        root = root.get_submodule(name)
    root.add_module(leaf, module)


def _plain_cnn() -> tuple[Layer, ...]:
    convs = [(3, 32), (32, 64), (64, 128)]
    layers = [
        Layer(f"conv{number}", "conv", (after, before, 3, 3), padding=1, pool=True)
        for number, (before, after) in enumerate(convs, start=1)
    ]
    hidden = Layer("fc1", "linear", (256, 128 * 4 * 4))
    return (*layers, hidden, Layer("fc2", "linear", (10, 256), activate=False))


_LENET = (
    Layer("conv1.0", "conv", (16, 1, 5, 5), pool=True),
    Layer("conv2.0", "conv", (32, 16, 5, 5), pool=True),
    Layer("fc1.0", "linear", (512, 32 * 4 * 4)),
    Layer("fc2.0", "linear", (10, 512), activate=False),
)
_MLP = (
    Layer("fc1", "linear", (128, 784)),
    Layer("fc2", "linear", (64, 128)),
    Layer("fc3", "linear", (10, 64), activate=False),
)

PRESETS: dict[str, dict[str, Any]] = {
    "plain_cnn": {"layers": _plain_cnn()},
    "lenet": {"layers": _LENET},
    "mlp": {"layers": _MLP},
}
