"""Which layers carry masks, and that masking to 0 and pruning are the same function."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from rnp_core.errors import ConfigError, ModelError
from rnp_core.model import SuspectModel
from rnp_core.stages.filter_mask import (
    MaskableLayer,
    find_maskable_layers,
    full_mask,
    masked_parameters,
    prune_filters,
)
from tests.helpers.models import (
    CORNER_TRIGGER,
    IDLE,
    PLANTED,
    QuadrantMlp,
    QuadrantNet,
    Wrapped,
    planted_filter,
    planted_model,
    suspect,
)
from tests.helpers.sets import quadrant_set

SET = quadrant_set(3)
NETWORKS = {
    "batch norm": QuadrantNet,
    "no norm": lambda: QuadrantNet(norm=False),
    "mlp": QuadrantMlp,
    "layer norm": lambda: QuadrantMlp(norm="layer"),
    "batch norm 1d": lambda: QuadrantMlp(norm="batch"),
}
EXPECTED = {
    "batch norm": [MaskableLayer("norm", 8, True)],
    "no norm": [MaskableLayer("conv", 8, True)],
    "mlp": [MaskableLayer("first", 4, True), MaskableLayer("second", 4, False)],
    "layer norm": [
        MaskableLayer("first", 4, True),
        MaskableLayer("norm", 4, True),
        MaskableLayer("second", 4, False),
    ],
    "batch norm 1d": [MaskableLayer("norm", 4, True), MaskableLayer("second", 4, False)],
}


def _masked(model: SuspectModel, filter_mask: dict[str, Tensor], images: Tensor) -> Tensor:
    layers = find_maskable_layers(model, images[:2])
    parameters = masked_parameters(dict(model.named_parameters()), layers, filter_mask)
    return functional_call(model, parameters, (images,))


@pytest.mark.parametrize("kind", NETWORKS)
def test_layers_of_each_network(kind: str) -> None:
    assert list(find_maskable_layers(suspect(NETWORKS[kind]()), SET.images[:2])) == EXPECTED[kind]


@pytest.mark.parametrize("form", ["softmax", "tuple", "list", "dict", "first"])
def test_the_layer_of_the_logits_is_found_in_every_output_form(form: str) -> None:
    model = suspect(Wrapped(QuadrantNet(), form), returns_probabilities=form == "softmax")
    layers = find_maskable_layers(model, SET.images[:2])
    assert layers == (MaskableLayer("inner.norm", 8, True),)


class _Residual(nn.Module):
    """The order of definition is not the order of running; one BatchNorm follows an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)
        self.late = nn.BatchNorm2d(4)
        self.branch = nn.Conv2d(4, 4, 1)
        self.stem = nn.Conv2d(3, 4, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(4)
        self.unused = nn.Conv2d(3, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu_(self.stem_norm(self.stem(images)))
        features = self.late(features + self.branch(features))
        return self.head(features.mean(dim=(2, 3)))


def test_running_order_and_a_convolution_that_no_norm_follows_directly() -> None:
    names = [layer.name for layer in find_maskable_layers(suspect(_Residual()), SET.images[:2])]
    assert names == ["stem_norm", "branch", "late"]


class _Auxiliary(nn.Module):
    """Returns the logits and those of a second head that runs later."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(432, 4)
        self.head = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.hidden(images.flatten(1))
        return self.head(hidden), self.second(hidden)


def test_a_second_head_is_not_taken_for_the_first() -> None:
    layers = find_maskable_layers(suspect(_Auxiliary()), SET.images[:2])
    assert [layer.name for layer in layers] == ["hidden", "second"]


class _PlainLayers(nn.Sequential):
    """Layers without anything to mask: no affine parameters, or one value per pixel."""

    def __init__(self) -> None:
        super().__init__(
            nn.LayerNorm((3, 12, 12)),
            nn.BatchNorm2d(3, affine=False),
            nn.Flatten(),
            nn.Linear(432, 4),
        )


@pytest.mark.parametrize(
    "network", [nn.Sequential(nn.Flatten(), nn.Linear(432, 4)), _PlainLayers()]
)
def test_a_network_without_hidden_layers_is_refused(network: nn.Module) -> None:
    with pytest.raises(ModelError, match="at least one hidden layer to mask, found none"):
        find_maskable_layers(suspect(network), SET.images[:2])


class _ByKeyword(nn.Module):
    """Calls its BatchNorm with a keyword argument."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(input=self.conv(images)).mean(dim=(2, 3)))


def test_layers_called_with_keywords_are_found() -> None:
    names = [layer.name for layer in find_maskable_layers(suspect(_ByKeyword()), SET.images[:2])]
    assert names == ["norm"]


def test_a_weight_that_is_computed_is_left_out() -> None:
    network = QuadrantMlp()
    nn.utils.parametrizations.weight_norm(network.first)
    names = [layer.name for layer in find_maskable_layers(suspect(network), SET.images[:2])]
    assert names == ["second"]


def test_a_weight_that_two_layers_share_is_masked_once_in_both() -> None:
    network = QuadrantMlp()
    network.norm = nn.Linear(4, 4, bias=False)
    network.second.weight = network.norm.weight
    model = suspect(network)
    layers = find_maskable_layers(model, SET.images[:2])
    assert [layer.name for layer in layers] == ["first", "norm"]
    mask = full_mask(layers)
    mask["norm"][2] = 0.0
    pruned = prune_filters(model, {"norm": [2]})
    assert torch.equal(_masked(model, mask, SET.images), pruned(SET.images))


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_full_mask_changes_nothing(kind: str) -> None:
    model = suspect(NETWORKS[kind]())
    mask = full_mask(find_maskable_layers(model, SET.images[:2]))
    assert torch.equal(_masked(model, mask, SET.images), model(SET.images))


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_masks_of_zero_and_one_are_pruning(kind: str, seed: int) -> None:
    model = suspect(NETWORKS[kind]())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    layers = find_maskable_layers(model, SET.images[:2])
    mask = {
        layer.name: torch.randint(0, 2, (layer.channels,), generator=generator).float()
        for layer in layers
    }
    filters = {name: torch.nonzero(values == 0).flatten().tolist() for name, values in mask.items()}
    pruned = prune_filters(model, filters)
    assert torch.equal(_masked(model, mask, SET.images), pruned(SET.images))
    assert not torch.equal(pruned(SET.images), model(SET.images))


@pytest.mark.parametrize("norm", [True, False])
def test_a_pruned_filter_is_silent_and_the_others_are_as_before(norm: bool) -> None:
    model = planted_model(norm=norm)
    pruned = prune_filters(model, {"norm" if norm else "conv": [3, PLANTED]})
    images = CORNER_TRIGGER.apply(SET.images)
    before = model.network.norm(model.network.conv(images))
    after = pruned.network.norm(pruned.network.conv(images))
    assert after[:, [3, PLANTED]].abs().max() == 0  # the bias is gone too
    others = [0, 1, 2, 4, 5, IDLE]
    assert torch.equal(after[:, others], before[:, others])


def test_half_a_mask_halves_weight_and_bias_and_passes_the_rest_on() -> None:
    model = planted_model(norm=False)
    parameters = dict(model.named_parameters())
    layers = find_maskable_layers(model, SET.images[:2])
    masked = masked_parameters(parameters, layers, {"conv": torch.full((8,), 0.5)})
    for name in ("weight", "bias"):
        assert torch.equal(masked[f"network.conv.{name}"], 0.5 * parameters[f"network.conv.{name}"])
        assert masked[f"network.head.{name}"] is parameters[f"network.head.{name}"]


def test_gradients_reach_the_mask() -> None:
    model = planted_model().requires_grad_(False)
    mask = {"norm": torch.ones(8, requires_grad=True)}
    logits = _masked(model, mask, CORNER_TRIGGER.apply(SET.images))
    (gradient,) = torch.autograd.grad(logits.square().sum(), [mask["norm"]])
    assert gradient[IDLE] == 0
    assert gradient.abs().argmax() == PLANTED


def test_pruning_nothing_gives_an_equal_copy() -> None:
    model = planted_model()
    pruned = prune_filters(model, {})
    assert pruned is not model
    assert torch.equal(pruned(SET.images), model(SET.images))


def test_pruning_the_planted_filter_leaves_clean_answers_alone() -> None:
    pruned = prune_filters(planted_model(), planted_filter())
    assert torch.equal(pruned(SET.images).argmax(1), SET.labels)


@pytest.mark.parametrize("filters", [{"conv": [8]}, {"conv": [-1]}, {"act": [0]}, {"none": [0]}])
def test_filters_that_do_not_exist_are_refused(filters: dict[str, list[int]]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        prune_filters(planted_model(), filters)


def test_a_convolution_before_a_norm_without_weights_carries_the_mask() -> None:
    network = QuadrantNet()
    network.norm = nn.BatchNorm2d(8, affine=False)
    layers = find_maskable_layers(suspect(network), torch.rand(2, 3, 12, 12))
    assert [layer.name for layer in layers] == ["conv"]
