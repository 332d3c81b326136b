"""A faster network with the same outputs: BatchNorm folded into the convolutions before it.

In eval mode a BatchNorm is a fixed scale and shift of each channel, which the convolution before
it can do itself (Jacob et al., CVPR 2018, section 3.2). For whoever needs outputs, or gradients for
the images only, the form of the parameters does not matter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.parametrize import is_parametrized

from rnp_core.arithmetic import full_float32
from rnp_core.layers import trace_layers
from rnp_core.model import SuspectModel

_TOLERANCE = 1e-3
"""Largest relative change of the logits that rounding may cause; a wrong fold changes far more."""


@full_float32()
@torch.no_grad()
def fold_batch_norms(model: SuspectModel, images: Tensor) -> SuspectModel:
    """A copy of ``model`` in eval mode, its BatchNorms folded into convolutions where they can.

    Folded is a BatchNorm that takes a convolution's output as it is, if both run once. Where
    something else reads that output too, as the shortcut of a residual block may, or reads the
    layers' own tensors, the logits of ``images`` change or the network fails, and the pair stays as
    it was. A network in which nothing can be folded comes back as a plain copy.

    Args:
        images: ``(N, C, H, W)`` in [0, 1], two are enough.
    """
    plain = model.copy()
    if not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        return plain
    plain.mixed_precision = False  # rounding would hide a wrong fold
    expected = plain(images)
    trace = trace_layers(model, images)
    pairs = [
        (layer, norm)
        for layer, norm in trace.norm_of.items()
        if trace.calls[layer] == trace.calls[norm] == 1
        and _can_fold(plain.network.get_submodule(layer), plain.network.get_submodule(norm))
    ]

    def agrees(candidate: SuspectModel) -> bool:
        try:
            error = (candidate(images) - expected).abs().max()
        except Exception:  # the network's own code, which may want the layers that it was given
            return False
        return bool(error <= _TOLERANCE * expected.abs().max())

    folded = _fold(plain.copy(), pairs)
    if not agrees(folded):
        folded = plain
        for layer, norm in pairs:
            before = [(name, folded.network.get_submodule(name)) for name in (layer, norm)]
            if not agrees(_fold(folded, [(layer, norm)])):
                for name, module in before:
                    folded.network.set_submodule(name, module)
    folded.mixed_precision = model.mixed_precision
    return folded


def _can_fold(convolution: nn.Module, batch_norm: nn.Module) -> bool:
    """Whether both are what their classes say: plain tensors as parameters, fixed statistics."""
    return (
        isinstance(convolution, nn.Conv2d)
        and isinstance(batch_norm, nn.BatchNorm2d)
        and batch_norm.running_mean is not None
        and not batch_norm.training
        and not is_parametrized(convolution)
        and not is_parametrized(batch_norm)
        and "weight" in dict(convolution.named_parameters(recurse=False))
    )


def _fold(model: SuspectModel, pairs: list[tuple[str, str]]) -> SuspectModel:
    network = model.network
    for layer, norm in pairs:
        convolution, batch_norm = network.get_submodule(layer), network.get_submodule(norm)
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(batch_norm, nn.BatchNorm2d)
        fused = fuse_conv_bn_eval(convolution, batch_norm)
        network.set_submodule(layer, fused.requires_grad_(False))
        network.set_submodule(norm, nn.Identity())
    return model
