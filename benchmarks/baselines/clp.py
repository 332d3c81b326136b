"""CLP: Zheng et al., "Data-free Backdoor Removal based on Channel Lipschitzness", ECCV 2022.

Checked against github.com/rkteddy/channel-Lipschitzness-based-pruning (defense.py): the largest
singular value of each channel's kernel, times |gamma / sigma| of the BatchNorm behind it, bounds
its Lipschitz constant; channels above mean + u x standard deviation of their layer lose weight and
bias, u = 3. It needs no images.

Differs from the official code: which convolution feeds a BatchNorm is seen from one run of the
network instead of the order in which layers were registered, so that pre-activation networks are
treated as the paper says; and sigma includes the epsilon of BatchNorm, without which a dead channel
makes the mean infinite.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.baselines.contract import Defence, NotApplicable, Outcome
from rnp_core.model import SuspectModel
from rnp_core.stages.filter_mask import prune_filters


@dataclass(frozen=True)
class ClpConfig:
    """Settings of :func:`clp`."""

    deviations: float = 3.0  # u, the default of the published test.py


def clp(defence: Defence, *, config: ClpConfig = ClpConfig()) -> dict[str, Outcome]:
    """Prune the channels whose Lipschitz bound stands out in their layer.

    Raises:
        NotApplicable: when no BatchNorm follows a convolution.
    """
    pairs = convolutions_with_norm(defence.model, defence.clean.images[:2])
    if not pairs:
        raise NotApplicable("the network has no BatchNorm behind a convolution")
    modules = dict(defence.model.network.named_modules())
    filters: dict[str, list[int]] = {}
    for norm_name, convolution_name in pairs.items():
        bounds = lipschitz_bounds(modules[convolution_name], modules[norm_name])  # type: ignore[arg-type]
        limit = bounds.mean() + config.deviations * bounds.std()
        chosen = torch.nonzero(bounds > limit).flatten().tolist()
        if chosen:
            filters[norm_name] = chosen
    return {
        "clp": Outcome(
            repaired=prune_filters(defence.model, filters),
            pruned_filters=sum(len(indices) for indices in filters.values()),
        )
    }


@torch.no_grad()
def lipschitz_bounds(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Upper bounds ``(channels,)`` of the channels' Lipschitz constants."""
    assert norm.running_var is not None
    kernels = convolution.weight.flatten(2).double()  # (channels, inputs, height * width)
    spectral = torch.linalg.matrix_norm(kernels, ord=2)
    gain = (norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()).abs()
    return spectral * gain


def convolutions_with_norm(model: SuspectModel, images: Tensor) -> dict[str, str]:
    """BatchNorm name to the name of the convolution whose output it gets, in running order."""
    duplicate = model.copy()
    outputs: dict[int, str] = {}
    kept: list[Tensor] = []  # keeps outputs alive so that an id is never used twice
    pairs: dict[str, str] = {}
    for name, module in duplicate.network.named_modules():
        if isinstance(module, nn.Conv2d):

            def keep(_: nn.Module, __: object, output: Tensor, name: str = name) -> None:
                outputs[id(output)] = name
                kept.append(output)

            module.register_forward_hook(keep)
        elif isinstance(module, nn.BatchNorm2d) and module.running_var is not None:

            def pair(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                if id(inputs[0]) in outputs:
                    pairs[name] = outputs[id(inputs[0])]

            module.register_forward_pre_hook(pair)
    with torch.no_grad():
        duplicate(images)
    return pairs
