"""The layer that Grad-CAM looks at: the last one that still knows where things are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnp_core.model import SuspectModel

# Their outputs have the shape of features, but they are projections inside attention, copies of
# what comes before them, or a fixed grid filled from a smaller one.
_NOT_FEATURES = (nn.Linear, nn.Identity, nn.Softmax, nn.Dropout, nn.Dropout2d,
                 nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)  # fmt: skip


@dataclass(frozen=True)
class SpatialLayer:
    """A layer with a grid of features.

    Attributes:
        name: as in ``model.network.named_modules()``.
        grid: ``(h, w)``, rows and columns of the grid.
        tokens: True for an output ``(N, T, D)``, False for ``(N, C, h, w)``.
        leading_tokens: tokens before those of the grid: 1 with a class token, else 0.
    """

    name: str
    grid: tuple[int, int]
    tokens: bool = False
    leading_tokens: int = 0

    def to_grid(self, output: Tensor) -> Tensor:
        """``(N, D, h, w)`` out of the tokens ``(N, T, D)``, without the leading ones."""
        return output[:, self.leading_tokens :].transpose(1, 2).unflatten(2, self.grid)

    def to_tokens(self, output: Tensor, grid: Tensor) -> Tensor:
        """The tokens ``(N, T, D)`` with those of the grid replaced by ``grid`` ``(N, D, h, w)``."""
        return torch.cat((output[:, : self.leading_tokens], grid.flatten(2).transpose(1, 2)), dim=1)


def record_outputs(
    model: SuspectModel, images: Tensor, names: Sequence[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and the last tensor that each named layer returned, in the order they finished.

    Layers that do not run, or that return no single tensor, are absent. The hooks are removed
    also when the network raises.

    Args:
        model: called once; eval mode is the caller's business.
        images: ``(N, C, H, W)``.
        names: keys of ``model.network.named_modules()``.
    """
    outputs: dict[str, Tensor] = {}
    modules = dict(model.network.named_modules())
    handles = []

    def record(name: str, output: object) -> None:
        outputs.pop(name, None)  # a layer used twice counts where it was used last
        if isinstance(output, Tensor):
            outputs[name] = output

    try:
        for name in names:
            hook = modules[name].register_forward_hook(
                lambda _module, _inputs, output, name=name: record(name, output)
            )
            handles.append(hook)
        logits = model(images)
    finally:
        for handle in handles:
            handle.remove()
    return logits, outputs


def find_spatial_layer(model: SuspectModel, images: Tensor, labels: Tensor) -> SpatialLayer | None:
    """The last layer with a grid of features on which the logits of ``labels`` depend.

    A grid is an output ``(N, C, h, w)`` with h, w > 1 and the proportions of the image, or tokens
    ``(N, T, D)`` where T, or T - 1 (a class token comes first), is a square. Blocks count as well
    as single layers. Layers whose grid has no influence on the logits are passed over, such as
    everything after the last attention of a transformer that reads only its class token.

    Args:
        model: a copy that may be run with gradients.
        images: ``(N, C, H, W)`` that require gradients; two or three are enough.
        labels: ``(N,)`` int64.
    """
    names = [name for name, module in model.network.named_modules()
             if name and not isinstance(module, _NOT_FEATURES)]  # fmt: skip
    logits, outputs = record_outputs(model, images, names)
    outputs = {name: output for name, output in outputs.items() if output.requires_grad}
    if not logits.requires_grad or not outputs:
        return None
    chosen = logits.gather(1, labels.view(-1, 1)).sum()
    gradients = torch.autograd.grad(chosen, list(outputs.values()), allow_unused=True)
    for name, gradient in reversed(list(zip(outputs, gradients, strict=True))):
        layer = None if gradient is None else _as_spatial(name, gradient, images)
        if layer and gradient is not None and gradient[:, layer.leading_tokens :].any():
            return layer
    return None


def _as_spatial(name: str, output: Tensor, images: Tensor) -> SpatialLayer | None:
    if output.ndim == 4 and len(output) == len(images) and output.shape[1:] != images.shape[1:]:
        height, width = images.shape[2:]
        rows, columns = output.shape[2:]
        fits = 1 < rows <= height and 1 < columns <= width
        if fits and abs(rows * width - columns * height) <= max(height, width):
            return SpatialLayer(name, (rows, columns))
    if output.ndim == 3 and len(output) == len(images):
        for leading in (0, 1):
            side = math.isqrt(output.shape[1] - leading)
            if side > 1 and side * side == output.shape[1] - leading:
                return SpatialLayer(name, (side, side), tokens=True, leading_tokens=leading)
    return None
