"""A faster network with the same outputs: BatchNorm folded into the convolutions before it.

In eval mode a BatchNorm is a fixed scale and shift of each channel, which the convolution before
it can do itself (Jacob et al., CVPR 2018, section 3.2). For whoever needs outputs, or gradients for
the images only, the form of the parameters does not matter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rnp_core.layers import trace_layers
from rnp_core.model import SuspectModel

_TOLERANCE = 1e-3
"""Largest relative change of the logits that rounding may cause; a wrong fold changes far more."""


@torch.no_grad()
def fold_batch_norms(model: SuspectModel, images: Tensor) -> SuspectModel:
    """A copy of ``model`` in eval mode, its BatchNorms folded into convolutions where they can.

    Folded is a BatchNorm that takes a convolution's output as it is, if both run once. Where
    something else reads that output too, as the shortcut of a residual block may, the logits of
    ``images`` change, and the pair stays as it was.

    Args:
        images: ``(N, C, H, W)`` in [0, 1], two are enough.
    """
    expected = model.copy()(images)
    trace = trace_layers(model, images)
    pairs = [pair for pair in trace.norm_of.items() if all(trace.calls[name] == 1 for name in pair)]

    def agrees(candidate: SuspectModel) -> bool:
        error = (candidate(images) - expected).abs().max()
        return bool(error <= _TOLERANCE * expected.abs().max())

    folded = _fold(model.copy(), pairs)
    if agrees(folded):
        return folded
    folded = model.copy()
    for layer, norm in pairs:
        before = [(name, folded.network.get_submodule(name)) for name in (layer, norm)]
        if not agrees(_fold(folded, [(layer, norm)])):
            for name, module in before:
                folded.network.set_submodule(name, module)
    return folded


def _fold(model: SuspectModel, pairs: list[tuple[str, str]]) -> SuspectModel:
    network = model.network
    for layer, norm in pairs:
        convolution, batch_norm = network.get_submodule(layer), network.get_submodule(norm)
        if (
            isinstance(convolution, nn.Conv2d)
            and isinstance(batch_norm, nn.BatchNorm2d)
            and batch_norm.track_running_stats
        ):
            fused = fuse_conv_bn_eval(convolution, batch_norm).requires_grad_(False)
            network.set_submodule(layer, fused)
            network.set_submodule(norm, nn.Identity())
    return model
