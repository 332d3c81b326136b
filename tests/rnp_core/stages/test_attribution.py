"""Attribution maps on networks whose answers can be worked out on paper."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnp_core.errors import ConfigError, DataError, ModelError, ScanCancelled
from rnp_core.model import Normalization, SuspectModel
from rnp_core.progress import Progress
from rnp_core.stages.attribution import METHODS, Attributions, attribute, attribute_filters

SIDE = 12


class Linear(nn.Module):
    """Logit k is the sum of all pixels weighted by ``weight[k]``."""

    def __init__(self, channels: int = 3, classes: int = 3) -> None:
        super().__init__()
        self.linear = nn.Linear(channels * SIDE * SIDE, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


class Corner(nn.Module):
    """Filter 0 is the brightness, filter 1 fires on white; filter 1 in the corner drives logit 1.

    ``conv`` copies the mean of the channels, ``norm`` gives filter 1 a threshold of 0.9.
    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(2)
        self.relu = nn.ReLU(inplace=True)
        self.linear = nn.Linear(2, 2, bias=False)
        nn.init.constant_(self.conv.weight, 1 / channels)
        self.norm.bias.data = torch.tensor([0.0, -0.9])
        self.linear.weight.data = torch.tensor([[0.1, 0.0], [0.0, 10.0]])

    def forward(self, x: Tensor) -> Tensor:
        features = self.relu(self.norm(self.conv(x)))
        return self.linear(features.mean(dim=(2, 3)))


class SmallConv(nn.Module):
    """In-place operations of every kind, and a spatial layer whose output is not used."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, padding=1)
        self.block = nn.Sequential(
            nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(inplace=True), nn.BatchNorm2d(8)
        )
        self.extra = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.stem(x))
        x = self.block(x)
        x += 1.0
        self.extra(x)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class TinyTransformer(nn.Module):
    """Patches of 4x4, one attention block; reads the class token or the mean of the patches."""

    def __init__(self, *, class_token: bool) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.first = nn.Parameter(torch.zeros(1, 1, 8)) if class_token else None
        self.norm1 = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm2 = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)  # (N, 9, 8)
        if self.first is not None:
            x = torch.cat((self.first.expand(len(x), -1, -1), x), dim=1)
        y = self.norm1(x)
        x = self.norm2(x + self.attention(y, y, y)[0])
        return self.head(x.mean(dim=1) if self.first is None else x[:, 0])


class Raising(SmallConv):
    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        raise RuntimeError("no such kernel")


class RaisingOnBlack(SmallConv):
    """Runs on the images themselves, and raises in the middle of Integrated Gradients."""

    def forward(self, x: Tensor) -> Tensor:
        if x.flatten(1).amax(dim=1).min() < 0.1:
            raise RuntimeError("too dark")
        return super().forward(x)


class NoGradient(SmallConv):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach())


def wrap(network: nn.Module, channels: int = 3, classes: int = 3, **options: bool) -> SuspectModel:
    model = SuspectModel(
        network,
        normalization=Normalization.none(channels),
        num_classes=classes,
        input_shape=(channels, SIDE, SIDE),
        **options,
    )
    return model.eval()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pictures(count: int = 3, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def maps(result: Attributions, method: str) -> Tensor:
    return result.by_method[method].maps


# Integrated Gradients


def test_integrated_gradients_of_a_linear_model_is_weight_times_input() -> None:
    network = Linear()
    images = pictures()
    labels = torch.tensor([2, 0, 1])
    result = attribute(wrap(network), images, labels, methods=["integrated_gradients"])
    weights = network.linear.weight[labels].view(3, 3, SIDE, SIDE).detach()
    torch.testing.assert_close(maps(result, "integrated_gradients"), (weights * images).sum(dim=1))
    assert result.by_method["integrated_gradients"].target_labels.tolist() == [2, 0, 1]
    assert result.skipped == {}


def test_normalisation_scales_the_weights() -> None:
    network = Linear()
    model = SuspectModel(
        network,
        normalization=Normalization((0.4,) * 3, (0.25,) * 3, "given"),
        num_classes=3,
        input_shape=(3, SIDE, SIDE),
    )
    images = pictures()
    result = attribute(model, images, 1, methods=["integrated_gradients"])
    weights = 4 * network.linear.weight[1].view(3, SIDE, SIDE).detach()
    expected = (weights * images).sum(dim=1)
    torch.testing.assert_close(maps(result, "integrated_gradients"), expected)


@pytest.mark.parametrize("count", [1, 33])
def test_integrated_gradients_add_up_to_the_change_of_the_logit(count: int) -> None:
    model = wrap(SmallConv())
    images = pictures(count)
    result = attribute(model, images, 1, methods=["integrated_gradients"], steps=100)
    with torch.no_grad():
        change = (model(images) - model(torch.zeros_like(images)))[:, 1]
    torch.testing.assert_close(
        maps(result, "integrated_gradients").sum(dim=(1, 2)), change, atol=2e-3, rtol=0
    )


def test_probabilities_are_explained_as_log_probabilities() -> None:
    network = nn.Sequential(Linear(), nn.Softmax(dim=1))
    model = wrap(network, returns_probabilities=True)
    images = pictures()
    result = attribute(model, images, 0, methods=["integrated_gradients"], steps=50)
    with torch.no_grad():
        change = (model(images) - model(torch.zeros_like(images)))[:, 0]
    torch.testing.assert_close(
        maps(result, "integrated_gradients").sum(dim=(1, 2)), change, atol=1e-3, rtol=0
    )


# Occlusion


def test_occlusion_finds_the_only_patch_that_matters() -> None:
    network = Linear(channels=1)
    with torch.no_grad():
        network.linear.weight.zero_()
        network.linear.weight[1].view(SIDE, SIDE)[-2:, -2:] = 1.0
    images = torch.zeros(1, 1, SIDE, SIDE)
    images[:, :, -2:, -2:] = 1.0
    result = attribute(wrap(network, channels=1), images, 1, methods=["occlusion"])
    found = maps(result, "occlusion")[0]
    corner = found[-1, -1].item()  # one window of 2x2 lies exactly on the patch
    assert corner == pytest.approx(4 * (1 - images.mean().item()))
    assert found[: SIDE - 3].abs().max() < 1e-6
    assert "window 2 x 2, stride 1 x 1" in result.by_method["occlusion"].detail


# Grad-CAM


def test_grad_cam_marks_the_corner_and_names_the_layer() -> None:
    images = torch.full((2, 3, SIDE, SIDE), 0.2)
    images[:, :, -3:, -3:] = 1.0
    result = attribute(wrap(Corner(), classes=2), images, 1, methods=["grad_cam"])
    found = maps(result, "grad_cam")
    # weight 10 / SIDE^2 times the activation 1 - 0.9 (BatchNorm divides by sqrt(1 + 1e-5))
    assert found[0, -2, -2].item() == pytest.approx(10 / SIDE**2 * 0.1, rel=1e-3)
    assert found[:, : SIDE - 3].abs().max() == 0
    assert "layer relu, grid 12 x 12" in result.by_method["grad_cam"].detail


def test_grad_cam_passes_over_layers_that_do_not_reach_the_logits() -> None:
    result = attribute(wrap(SmallConv()), pictures(), 0, methods=["grad_cam"])
    assert "layer block, grid 6 x 6" in result.by_method["grad_cam"].detail
    assert maps(result, "grad_cam").shape == (3, SIDE, SIDE)


@pytest.mark.parametrize(("class_token", "layer"), [(True, "norm1"), (False, "norm2")])
def test_grad_cam_reads_the_patch_tokens_of_a_transformer(class_token: bool, layer: str) -> None:
    network = TinyTransformer(class_token=class_token)
    result = attribute(wrap(network), pictures(), 0, methods=["grad_cam"])
    assert f"layer {layer}, grid 3 x 3" in result.by_method["grad_cam"].detail
    assert maps(result, "grad_cam").abs().max() > 0


def test_grad_cam_of_tokens_matches_the_formula() -> None:
    network = TinyTransformer(class_token=False)
    images = pictures(1)
    found = maps(attribute(wrap(network), images, 2, methods=["grad_cam"]), "grad_cam")
    tokens: list[Tensor] = []
    handle = network.norm2.register_forward_hook(lambda _m, _i, output: tokens.append(output))
    network(images)
    handle.remove()
    weights = network.head.weight[2] / 9  # gradient of the logit at each token of the mean
    expected = (tokens[0] * weights).sum(dim=2).view(1, 1, 3, 3)
    expected = F.interpolate(expected, (SIDE, SIDE), mode="bilinear")[:, 0]
    torch.testing.assert_close(found, expected.detach())


def test_an_mlp_has_no_grid() -> None:
    result = attribute(wrap(Linear()), pictures(), 0)
    assert set(result.by_method) == {"integrated_gradients", "occlusion"}
    assert "no layer with a grid" in result.skipped["grad_cam"]


def test_a_network_without_gradients_keeps_occlusion() -> None:
    result = attribute(wrap(NoGradient()), pictures(), 0)
    assert set(result.by_method) == {"occlusion"}
    assert set(result.skipped) == {"integrated_gradients", "grad_cam"}
    assert "no gradient" in result.skipped["grad_cam"]


# Filters


def test_filter_maps_add_up_to_the_activation() -> None:
    model = wrap(SmallConv())
    images = pictures()
    found = attribute_filters(model, images, {"block.2": [1, 5], "stem": [0]}, steps=100)
    assert found.filters == {"block.2": (1, 5), "stem": (0,)}
    outputs: list[Tensor] = []
    handle = model.network.block[2].register_forward_hook(
        lambda _m, _i, output: outputs.append(output.clone())
    )
    with torch.no_grad():
        model(images)
        model(torch.zeros_like(images))
    handle.remove()
    change = (outputs[0] - outputs[1])[:, [1, 5]].sum(dim=(1, 2, 3))
    torch.testing.assert_close(found.maps["block.2"].sum(dim=(1, 2)), change, atol=1e-2, rtol=1e-3)


def test_filter_map_shows_where_the_corner_filter_fires() -> None:
    images = torch.full((2, 3, SIDE, SIDE), 0.2)
    images[:, :, -3:, -3:] = 1.0
    found = attribute_filters(wrap(Corner(), classes=2), images, {"relu": [1]}, steps=100)
    assert found.maps["relu"][:, : SIDE - 3].abs().max() == 0
    assert found.maps["relu"][:, -3:, -3:].min() > 0.05


@pytest.mark.parametrize("layer", ["head", "norm1", "embed"])
def test_filters_of_linear_norm_and_convolution_layers(layer: str) -> None:
    network = TinyTransformer(class_token=True)
    found = attribute_filters(wrap(network), pictures(), {layer: [0, 2]})
    assert found.maps[layer].shape == (3, SIDE, SIDE)
    assert found.maps[layer].abs().max() > 0


def test_filters_of_a_layer_norm_are_its_last_dimension() -> None:
    model = wrap(TinyTransformer(class_token=True))
    images = pictures(1)
    found = attribute_filters(model, images, {"norm1": [7]}, steps=200).maps["norm1"]
    outputs: list[Tensor] = []
    model.network.norm1.register_forward_hook(lambda _m, _i, output: outputs.append(output))
    with torch.no_grad():
        model(images)
        model(torch.zeros_like(images))
    change = (outputs[0] - outputs[1])[:, :, 7].sum()
    assert found.sum().item() == pytest.approx(change.item(), abs=2e-2)


def test_layers_without_a_map_say_why() -> None:
    network = SmallConv()
    network.add_module("spare", nn.Conv2d(3, 4, 1))
    found = attribute_filters(wrap(network), pictures(), {"spare": [0], "stem": []})
    assert found.maps == {}
    assert "does not run" in found.skipped["spare"]
    assert "no filters" in found.skipped["stem"]
    detached = attribute_filters(wrap(NoGradient()), pictures(), {"stem": [0]})
    assert "no gradient" in detached.skipped["stem"]


# Shapes, progress, repeatability


def test_grey_images_and_all_methods() -> None:
    result = attribute(wrap(SmallConv(channels=1), channels=1), pictures(2, channels=1), 2)
    assert tuple(result.by_method) == METHODS
    for found in result.by_method.values():
        assert found.maps.shape == (2, SIDE, SIDE)
        assert found.maps.dtype == torch.float32
        assert not found.maps.requires_grad


def test_groups_of_images_do_not_change_the_maps() -> None:
    model = wrap(SmallConv())
    images = pictures(40)
    together = attribute(model, images, 1)
    alone = attribute(model, images[35:36], 1)
    for method in METHODS:
        torch.testing.assert_close(
            maps(together, method)[35:36], maps(alone, method), atol=1e-5, rtol=1e-4
        )


def test_progress_counts_to_the_total_and_can_cancel() -> None:
    seen: list[Progress] = []
    attribute(wrap(SmallConv()), pictures(40), 1, on_progress=seen.append)
    assert [progress.step for progress in seen] == [1, 2, 3, 4, 5, 6]
    assert {progress.total for progress in seen} == {6}
    assert {progress.stage for progress in seen} == {"attribute"}

    def cancel(_progress: Progress) -> None:
        raise ScanCancelled("stopped")

    with pytest.raises(ScanCancelled, match="stopped"):
        attribute(wrap(SmallConv()), pictures(), 1, on_progress=cancel)


def test_noise_in_the_forward_pass_is_repeatable_by_seed() -> None:
    class Noisy(SmallConv):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + 0.1 * torch.randn_like(x))

    model = wrap(Noisy())
    first, again, other = (
        maps(attribute(model, pictures(), 1, methods=["grad_cam"], seed=seed), "grad_cam")
        for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_works_where_the_caller_has_switched_gradients_off() -> None:
    with torch.no_grad():
        result = attribute(wrap(SmallConv()), pictures(), 1)
        assert not torch.is_grad_enabled()
    assert tuple(result.by_method) == METHODS


# Errors, and what a call leaves behind


def fingerprint(model: SuspectModel) -> list[object]:
    """Everything that a call must leave alone."""
    state: list[object] = [torch.get_rng_state().tolist(), torch.is_grad_enabled()]
    for name, module in model.named_modules():
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        state.append((name, module.training, [len(hook) for hook in hooks]))
        state.append(getattr(module, "inplace", None))
    for name, tensor in model.state_dict(keep_vars=True).items():
        state.append((name, tensor.requires_grad, tensor.grad is None, tensor.tolist()))
    return state


Call = Callable[[SuspectModel, Tensor], object]


@pytest.mark.parametrize(
    ("network", "call", "error"),
    [
        (SmallConv, lambda m, x: attribute(m, x, 1), None),
        (SmallConv, lambda m, x: attribute_filters(m, x, {"block.2": [0]}), None),
        (SmallConv, lambda m, x: attribute(m, x, 7), ConfigError),
        (SmallConv, lambda m, x: attribute_filters(m, x, {"block.2": [8]}), ConfigError),
        (Raising, lambda m, x: attribute(m, x, 1), ModelError),
        (RaisingOnBlack, lambda m, x: attribute(m, x, 1), ModelError),
        (Raising, lambda m, x: attribute_filters(m, x, {"block.2": [0]}), ModelError),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_a_call_leaves_the_model_as_it_was(
    network: type[nn.Module], call: Call, error: type[Exception] | None, training: bool
) -> None:
    model = wrap(network()).train(training)
    images = pictures()
    images_before = images.clone()
    before = fingerprint(model)
    if error is None:
        call(model, images)
    else:
        with pytest.raises(error):
            call(model, images)
    assert fingerprint(model) == before
    assert torch.equal(images, images_before)
    assert not images.requires_grad


def test_model_trouble_names_the_cause() -> None:
    with pytest.raises(ModelError, match="the network raised RuntimeError: no such kernel"):
        attribute(wrap(Raising()), pictures(), 0)
    with pytest.raises(ModelError, match="integrated_gradients raised RuntimeError: too dark"):
        attribute(wrap(RaisingOnBlack()), pictures(), 0)


def test_nan_maps_are_refused() -> None:
    network = SmallConv()
    network.head.weight.data[1] = float("nan")
    with pytest.raises(ModelError, match="NaN or infinite"):
        attribute(wrap(network), pictures(), 1, methods=["occlusion"])


def test_wrong_arguments() -> None:
    model = wrap(SmallConv())
    images = pictures()
    with pytest.raises(ConfigError, match=r"unknown attribution methods \['lime'\]"):
        attribute(model, images, 0, methods=["lime"])
    with pytest.raises(ConfigError, match="expected at least 2 steps, got 1"):
        attribute(model, images, 0, steps=1)
    with pytest.raises(ConfigError, match="from 0 to 2, got -1"):
        attribute(model, images, torch.tensor([0, -1, 2]))
    with pytest.raises(ConfigError, match="from 0 to 2, got 3"):
        attribute(model, images, 3)
    with pytest.raises(DataError, match=r"labels of shape \(3,\)"):
        attribute(model, images, torch.tensor([0, 1]))
    with pytest.raises(DataError, match="int64 target labels"):
        attribute(model, images, torch.tensor([0.0, 1.0, 2.0]))
    with pytest.raises(DataError, match=r"of shape \(3, 12, 12\), got .*\(3, 3, 8, 8\)"):
        attribute(model, images[:, :, :8, :8], 0)
    with pytest.raises(DataError, match="at least one image"):
        attribute(model, images[:0], 0)
    with pytest.raises(DataError, match="float32"):
        attribute(model, images.double(), 0)
    with pytest.raises(ConfigError, match=r"no layers \['fc'\]"):
        attribute_filters(model, images, {"fc": [0]})
    with pytest.raises(ConfigError, match=r"filters of stem from 0 to 7, got \[-1, 8\]"):
        attribute_filters(model, images, {"stem": [-1, 0, 8]})
