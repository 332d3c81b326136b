"""One mask value per filter, put on any network by substituting its parameters in the call.

RNP (Li et al., ICML 2023, section 3.3) puts a mask on every BatchNorm channel. Here the same mask
goes on every layer with output channels: BatchNorm, LayerNorm, and convolutions and linear layers
that no BatchNorm follows. The network itself is never rewritten: ``torch.func.functional_call``
receives ``mask * weight`` and ``mask * bias`` in place of the layer's own parameters.

Differs from the official code: the bias is masked with the weight, so that a filter with mask 0 is
silent instead of passing a constant on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnp_core.errors import ConfigError, ModelError
from rnp_core.layers import WEIGHTED, trace_layers
from rnp_core.model import SuspectModel


@dataclass(frozen=True)
class MaskableLayer:
    """A layer whose output channels can be masked.

    Attributes:
        name: module name inside the network, as in ``network.named_modules()``.
        channels: number of filters.
        has_bias: whether a bias is masked along with the weight.
    """

    name: str
    channels: int
    has_bias: bool


FilterMask = Mapping[str, Tensor]
"""Layer name to mask values ``(channels,)`` in [0, 1]; 1 keeps a filter, 0 prunes it."""


def find_maskable_layers(model: SuspectModel, images: Tensor) -> tuple[MaskableLayer, ...]:
    """The layers that carry masks, in the order in which the network runs them.

    Runs the model once on a copy. A convolution or linear layer whose output goes straight into a
    BatchNorm is left to that BatchNorm, unless that has no weight: then the layer carries the mask,
    and a filter at 0 leaves the BatchNorm as a constant instead of zero, so it says nothing about
    the image either. The layer that makes the logits is left out.

    Args:
        images: ``(N, C, H, W)`` in [0, 1], two are enough.

    Raises:
        ModelError: when the network has no layer to mask.
    """
    trace = trace_layers(model, images)
    modules = dict(model.network.named_modules())
    followed_by_norm = {
        layer for layer, norm in trace.norm_of.items() if getattr(modules[norm], "affine", False)
    }
    producer = trace.logits_layer
    if producer is None:
        # something without parameters makes the output: drop the last linear layer
        weighted = [name for name in trace.calls if isinstance(modules[name], WEIGHTED)]
        producer = weighted[-1] if weighted else None

    parameters = dict(model.network.named_parameters())
    layers = []
    for name in trace.calls:
        module = modules[name]
        weight = parameters.get(f"{name}.weight")  # None if computed, or shared with a layer before
        if name in followed_by_norm or name == producer or weight is None:
            continue
        if isinstance(module, nn.LayerNorm) and weight.ndim != 1:
            continue
        layers.append(MaskableLayer(name, weight.shape[0], f"{name}.bias" in parameters))
    if not layers:
        raise ModelError("expected a network with at least one hidden layer to mask, found none")
    return tuple(layers)


def full_mask(layers: Sequence[MaskableLayer]) -> dict[str, Tensor]:
    """A mask that keeps every filter."""
    return {layer.name: torch.ones(layer.channels) for layer in layers}


def masked_parameters(
    parameters: Mapping[str, Tensor], layers: Sequence[MaskableLayer], filter_mask: FilterMask
) -> dict[str, Tensor]:
    """``parameters`` (of a SuspectModel, by name) with every masked layer's weight and bias scaled.

    Differentiable in the mask. Tensors that no mask touches are passed through, not copied.
    """
    substituted = dict(parameters)
    for layer in layers:
        values = filter_mask[layer.name]
        weight = f"network.{layer.name}.weight"
        shape = (-1,) + (1,) * (substituted[weight].ndim - 1)
        substituted[weight] = substituted[weight] * values.view(shape)
        if layer.has_bias:
            bias = f"network.{layer.name}.bias"
            substituted[bias] = substituted[bias] * values
    return substituted


def prune_filters(model: SuspectModel, filters: Mapping[str, Sequence[int]]) -> SuspectModel:
    """A copy of ``model`` in which the named filters give zero: weight and bias set to 0.

    Before a BatchNorm without weights it is a constant; see :func:`find_maskable_layers`.

    Args:
        filters: layer name to filter indices.

    Raises:
        ConfigError: for a layer without weights, or a filter that it does not have.
    """
    pruned = model.copy()
    modules = dict(pruned.network.named_modules())
    with torch.no_grad():
        for name, indices in filters.items():
            module = modules.get(name)
            weight = getattr(module, "weight", None)
            if not isinstance(weight, Tensor):
                raise ConfigError(f"expected a layer with weights, the network has no such {name}")
            count = len(weight)
            wrong = [index for index in indices if not 0 <= index < count]
            if wrong:
                raise ConfigError(f"expected filters of {name} from 0 to {count - 1}, got {wrong}")
            chosen = torch.as_tensor(list(indices), dtype=torch.int64)
            for parameter in (weight, getattr(module, "bias", None)):
                if isinstance(parameter, Tensor):
                    parameter[chosen] = 0.0
    return pruned
