"""A folded network gives the same logits, and what cannot be folded stays as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from rnp_core.fold import fold_batch_norms
from rnp_core.layers import trace_layers
from rnp_core.model import SuspectModel
from tests.helpers.models import suspect


class Block(nn.Module):
    """Two convolutions with BatchNorm between them; ``shortcut`` adds the first one's output."""

    def __init__(self, *, shortcut: bool = False, repeats: int = 1, tracked: bool = True) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6, track_running_stats=tracked)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.last_norm = nn.BatchNorm2d(6, affine=False)
        self.head = nn.Linear(6, 4)
        self.shortcut = shortcut
        self.repeats = repeats

    def forward(self, images: Tensor) -> Tensor:
        start = self.first(images)
        inner = torch.relu(self.norm(start))
        for _ in range(self.repeats):
            inner = torch.relu(self.last_norm(self.second(inner)))
        return self.head((inner + start if self.shortcut else inner).mean((2, 3)))


def _model(**options: bool | int) -> SuspectModel:
    torch.manual_seed(0)
    network = Block(**options)  # type: ignore[arg-type]
    for norm in (network.norm, network.last_norm):
        if norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
    with torch.no_grad():
        network.norm.weight.uniform_(0.5, 2.0)
        network.norm.bias.normal_()
    return suspect(network)


IMAGES = torch.rand(5, 3, 12, 12, generator=torch.Generator().manual_seed(1))
CASES: dict[str, tuple[Callable[[], SuspectModel], list[str]]] = {
    "plain": (_model, []),
    "a shortcut reads the convolution": (lambda: _model(shortcut=True), ["norm"]),
    "layers that run twice": (lambda: _model(repeats=2), ["last_norm"]),
    "batch statistics": (lambda: _model(tracked=False), ["norm"]),
}


@pytest.mark.parametrize("case", CASES)
def test_same_logits_and_gradients(case: str) -> None:
    build, left = CASES[case]
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fold_batch_norms(model, IMAGES[:2])
    kept = [
        name
        for name, module in folded.network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    assert kept == left
    results = []
    for network in (model.copy(), folded):
        images = IMAGES.clone().requires_grad_(True)
        logits = network(images)
        results.append((logits.detach(), torch.autograd.grad(logits.square().sum(), images)[0]))
    for given, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(given, expected, rtol=1e-3, atol=1e-4)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(parameter.requires_grad for parameter in folded.parameters())


class ReadsItsNorm(Block):
    """A forward that reads a BatchNorm's own weight, as hand-fused networks do."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + self.norm.weight.sum()


class StaysInTraining(nn.BatchNorm2d):
    """A BatchNorm that uses batch statistics whatever it is told."""

    def train(self, mode: bool = True) -> StaysInTraining:
        return super().train(True)


class InPlace(Block):
    """Between the first convolution and its BatchNorm the tensor is changed in place."""

    def forward(self, images: Tensor) -> Tensor:
        start = self.first(images)
        start.mul_(2.0).add_(0.3)
        inner = torch.relu(self.norm(start))
        return self.head(torch.relu(self.last_norm(self.second(inner))).mean((2, 3)))


def _parametrized(change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    network = Block()
    change(network.first)
    return network


def _training() -> nn.Module:
    network = Block()
    network.norm = StaysInTraining(6)
    return network


def _alias() -> nn.Module:
    network = Block()
    network.again = network.norm
    return network


AWKWARD: dict[str, Callable[[], nn.Module]] = {
    "weight norm": lambda: _parametrized(weight_norm),
    "spectral norm": lambda: _parametrized(spectral_norm),
    "reads its norm": ReadsItsNorm,
    "stays in training": _training,
    "one layer under two names": _alias,
    "changed in place": InPlace,
}


@pytest.mark.parametrize("case", AWKWARD)
def test_awkward_networks_fold_where_that_is_right(case: str) -> None:
    torch.manual_seed(0)
    model = suspect(AWKWARD[case]())
    with torch.no_grad():
        model.network.norm.weight.uniform_(0.5, 2.0)  # type: ignore[union-attr, operator]
    folded = fold_batch_norms(model, IMAGES[:2])
    torch.testing.assert_close(folded(IMAGES[:2]), model.copy()(IMAGES[:2]), rtol=1e-3, atol=1e-4)


def test_a_tensor_changed_in_place_is_no_layers_output() -> None:
    assert "first" not in trace_layers(suspect(InPlace()), IMAGES[:2]).norm_of
