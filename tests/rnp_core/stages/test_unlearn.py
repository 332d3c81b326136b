"""Unlearning: the trajectory, the modes of the layers, and what a planted backdoor leaves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rnp_core.assembly import as_suspect_model
from rnp_core.data import DefenseSet
from rnp_core.progress import Progress
from rnp_core.stages.unlearn import (
    UnlearnConfig,
    class_shares,
    unlearn,
    use_batch_statistics,
    with_clean_statistics,
)
from tests.helpers.models import TARGET, QuadrantMlp, QuadrantNet, Wrapped, planted_model, suspect
from tests.helpers.sets import quadrant_set

SET = quadrant_set(10)
SHORT = UnlearnConfig(stop_accuracy=0.0, max_steps=6, batch_size=16, relative_step=0.01)


def _vector(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_a_planted_backdoor_draws_the_clean_images_to_its_target() -> None:
    result = unlearn(planted_model(), SET, config=UnlearnConfig(max_steps=120, relative_step=0.004))
    assert result.unlearned_shares.argmax() == TARGET
    assert result.unlearned_shares[TARGET] > 0.9
    clean = unlearn(
        suspect(QuadrantNet(backdoor=False)),
        SET,
        config=UnlearnConfig(max_steps=120, relative_step=0.004),
    )
    assert clean.unlearned_shares[TARGET] < 0.9


def test_the_trajectory_has_a_row_before_each_step_and_after_the_last() -> None:
    result = unlearn(planted_model(), SET, config=SHORT)
    assert result.shares.shape == (7, 4)
    assert result.accuracy.shape == result.distance.shape == (7,)
    torch.testing.assert_close(result.shares.sum(1), torch.ones(7))
    torch.testing.assert_close(result.distance, 0.01 * torch.arange(7.0))
    torch.testing.assert_close(result.unlearned_shares.sum(), torch.tensor(1.0))
    assert result.accuracy[0] > 0.7  # batch statistics and a shift cost some
    assert not result.collapsed


@pytest.mark.parametrize("network", [QuadrantNet, QuadrantMlp])
def test_one_step_has_the_promised_length(network: type[nn.Module]) -> None:
    model = suspect(network())
    config = UnlearnConfig(stop_accuracy=0.0, max_steps=1, batch_size=16, relative_step=0.01)
    moved = _vector(unlearn(model, SET, config=config).model) - _vector(model)
    assert float(moved.norm()) == pytest.approx(0.01 * float(_vector(model).norm()), rel=1e-4)


def test_one_step_raises_the_loss() -> None:
    model = suspect(QuadrantMlp())
    config = UnlearnConfig(stop_accuracy=0.0, max_steps=1, batch_size=40, relative_step=0.001)
    result = unlearn(model, SET, config=config)
    loss = nn.functional.cross_entropy
    assert loss(result.model(SET.images), SET.labels) > loss(model(SET.images), SET.labels)


def test_no_step_at_all_gives_an_equal_network() -> None:
    model = planted_model()
    result = unlearn(model, SET, config=UnlearnConfig(stop_accuracy=0.0, max_steps=0))
    assert torch.equal(_vector(result.model), _vector(model))
    assert result.shares.shape == (1, 4)


def test_stops_once_the_accuracy_is_down() -> None:
    seen: list[Progress] = []
    config = UnlearnConfig(stop_accuracy=0.5, max_steps=500, batch_size=16, relative_step=0.02)
    result = unlearn(planted_model(), SET, config=config, on_progress=seen.append)
    assert result.collapsed
    assert len(result.shares) < 500
    assert result.accuracy[-1] <= 0.5
    assert len(seen) == len(result.shares)


def test_a_set_that_is_already_wrong_needs_no_step() -> None:
    wrong = DefenseSet(SET.images, (SET.labels + 1) % 4)
    result = unlearn(planted_model(), wrong, config=UnlearnConfig(stop_accuracy=0.2))
    assert result.collapsed
    assert result.distance.tolist() == [0.0]


def test_progress_counts_the_steps_and_carries_the_curves() -> None:
    seen: list[Progress] = []
    result = unlearn(planted_model(), SET, config=SHORT, on_progress=seen.append)
    assert [(p.stage, p.step, p.total) for p in seen] == [("unlearn", i, 6) for i in range(7)]
    assert [p.values["accuracy"] for p in seen] == pytest.approx(result.accuracy.tolist())
    assert [p.values["shares"] for p in seen] == result.shares.tolist()


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (QuadrantNet(), True),
        (QuadrantMlp(norm="batch"), True),
        (QuadrantNet(norm=False), False),
        (QuadrantMlp(norm="layer"), False),
    ],
)
def test_says_whether_there_were_batch_statistics(network: nn.Module, expected: bool) -> None:
    assert unlearn(suspect(network), SET, config=SHORT).used_batch_statistics is expected


def test_only_batch_norm_layers_go_to_train_mode() -> None:
    model = suspect(nn.Sequential(QuadrantNet(), nn.Dropout(0.5), nn.LayerNorm(4)))
    assert use_batch_statistics(model)
    assert [name for name, module in model.named_modules() if module.training] == ["network.0.norm"]


def test_dropout_stays_off() -> None:
    network = nn.Sequential(QuadrantMlp(), nn.Dropout(1.0))
    assert unlearn(suspect(network), SET, config=SHORT).accuracy[0] == 1.0


@pytest.mark.parametrize("form", ["softmax", "tuple"])
def test_the_first_step_is_the_same_in_every_output_form(form: str) -> None:
    config = UnlearnConfig(stop_accuracy=0.0, max_steps=1, batch_size=16, relative_step=0.01)
    model = suspect(Wrapped(QuadrantMlp(), form), returns_probabilities=form == "softmax")
    expected = unlearn(suspect(QuadrantMlp()), SET, config=config)
    found = unlearn(model, SET, config=config)
    torch.testing.assert_close(found.shares, expected.shares)
    torch.testing.assert_close(_vector(found.model), _vector(expected.model), atol=1e-5, rtol=0)


def test_a_layer_that_is_not_used_does_not_disturb() -> None:
    network = QuadrantNet()
    network.spare = nn.Linear(2, 2)
    result = unlearn(suspect(network), SET, config=SHORT)
    assert torch.equal(result.model.network.spare.weight, network.spare.weight)
    assert not torch.equal(result.model.network.conv.weight, network.conv.weight)


@pytest.mark.parametrize("training", [False, True])
def test_class_shares_leave_running_statistics_alone(training: bool) -> None:
    model = planted_model()
    if training:
        use_batch_statistics(model)
    before = {name: values.clone() for name, values in model.named_buffers()}
    shares = class_shares(model, SET.images, SET.labels, 16)
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=0.05 if training else 1e-6)
    assert all(torch.equal(values, before[name]) for name, values in model.named_buffers())


def test_every_class_counts_the_same_in_the_shares() -> None:
    model = planted_model()
    rows = torch.cat([torch.nonzero(SET.labels == 0).flatten()[:12],
                      *(torch.nonzero(SET.labels == k).flatten()[:3] for k in (1, 2))])
    shares = class_shares(model, SET.images[rows], SET.labels[rows], 16)
    assert shares.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])


def test_a_last_batch_of_one_image_has_no_statistics_of_its_own() -> None:
    part = SET.subset(torch.arange(17))
    result = unlearn(suspect(QuadrantMlp(norm="batch")), part, config=SHORT)
    torch.testing.assert_close(result.unlearned_shares.sum(), torch.tensor(1.0))


def test_settled_statistics_make_predictions_independent_of_neighbours() -> None:
    unlearned = unlearn(planted_model(), SET, config=UnlearnConfig(max_steps=5)).model
    before = {name: value.clone() for name, value in unlearned.state_dict().items()}
    settled = with_clean_statistics(unlearned, SET.images)
    alone = torch.cat([settled(image[None]) for image in SET.images[:6]])
    assert torch.allclose(alone, settled(SET.images[:6]), atol=1e-5)
    assert not any(module.training for module in settled.modules())
    assert all(torch.equal(before[name], value) for name, value in unlearned.state_dict().items())


def test_two_classes_have_collapsed_when_one_is_left() -> None:
    images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    images[::2] /= 4
    labels = torch.arange(40) % 2
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    model = as_suspect_model(network, DefenseSet(images, labels))
    assert unlearn(model, DefenseSet(images, labels)).collapsed
