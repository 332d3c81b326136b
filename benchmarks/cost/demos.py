"""Clean networks of the cost benchmark: demo models, whose scans take the way of real ones.

A full-width ResNet-18 takes a quarter of an hour to learn the rendered signs on two cores. So the
demo model of the same depth is widened without a change of what it answers (Net2WiderNet, Chen,
Goodfellow and Shlens, ICLR 2016).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmarks.cost.networks import NETWORKS
from rnp_core.architectures import build
from rnp_core.data import DefenseSet
from rnp_core.demo import find_demo
from rnp_core.model import SuspectModel
from rnp_core.subject import load_subject

DEMOS: Mapping[str, tuple[str, int]] = {"wrn16-1": ("clean-b", 1), "resnet18": ("clean-a", 4)}
"""Network to the demo model that it is made of, and how many times as wide it is."""

_SCATTER = 0.02


def clean_demo(name: str, classes: int, count: int) -> tuple[SuspectModel, DefenseSet]:
    """A network that knows the first ``classes`` signs, and up to ``count`` clean images of them.

    Args:
        name: among :data:`DEMOS`.
    """
    demo_name, times = DEMOS[name]
    demo = find_demo(demo_name)
    subject = load_subject(demo.checkpoint, demo.clean)
    state = {
        key: _first_classes(value, classes, subject.model.num_classes)
        for key, value in subject.model.network.state_dict().items()
    }
    architecture, _, parameters = NETWORKS[name]
    network = build(architecture, num_classes=classes, **parameters)
    network.load_state_dict(widened(state, times, classes=classes))
    model = SuspectModel(
        network.eval().requires_grad_(False),
        normalization=subject.model.normalization,
        num_classes=classes,
        input_shape=subject.model.input_shape,
    )
    clean = subject.clean.images
    rows = torch.nonzero(clean.labels < classes).flatten()[:count]
    return model, DefenseSet(clean.images[rows], clean.labels[rows])


def widened(state: Mapping[str, Tensor], times: int, *, classes: int) -> dict[str, Tensor]:
    """The weights of a network with ``times`` as many channels and the same answers.

    Every channel is repeated, and what reads the copies reads a ``times``-th of each. The weights
    of the copies differ by 2 %, so that they do not stay copies when the network is trained.

    Args:
        state: of a network of convolutions and BatchNorm that reads 3 channels and ends in
            ``classes`` outputs.
    """
    if times == 1:
        return dict(state)
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, value in state.items():
        if value.dim() and value.shape[0] != classes:
            value = value.repeat(times, *[1] * (value.dim() - 1))
        if value.dim() > 1 and value.shape[1] != 3:
            value = value.repeat(1, times, *[1] * (value.dim() - 2)) / times
            value = value * (1 + _SCATTER * torch.randn(value.shape, generator=generator))
        found[name] = value
    return found


def _first_classes(value: Tensor, classes: int, known: int) -> Tensor:
    return value[:classes] if value.dim() and value.shape[0] == known else value
