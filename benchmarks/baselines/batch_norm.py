"""BatchNorm channels with a mask, as RNP and ANP use them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from benchmarks.baselines.contract import NotApplicable
from rnp_core.model import SuspectModel

ChannelMask = Mapping[str, Tensor]
"""Name of a BatchNorm layer (in the SuspectModel) to mask values ``(channels,)`` in [0, 1]."""


def batch_norm_layers(model: SuspectModel) -> dict[str, nn.BatchNorm2d]:
    """The two-dimensional BatchNorm layers with a weight, by name.

    Raises:
        NotApplicable: when there are none.
    """
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d) and module.weight is not None
    }
    if not found:
        raise NotApplicable("the network has no BatchNorm channels to mask")
    return found


def prune_channels(model: SuspectModel, mask: ChannelMask, threshold: float) -> SuspectModel:
    """A copy of ``model`` whose BatchNorm weights with a mask value up to ``threshold`` are 0.

    The bias stays, as in the published code of both RNP and ANP.
    """
    pruned = model.copy()
    modules = dict(pruned.named_modules())
    with torch.no_grad():
        for name, values in mask.items():
            weight = modules[name].weight
            assert isinstance(weight, Tensor)
            weight[values <= threshold] = 0.0
    return pruned


def count_channels(mask: ChannelMask, threshold: float) -> int:
    """How many channels :func:`prune_channels` silences."""
    return sum(int((values <= threshold).sum()) for values in mask.values())
