"""Recovering: masks stay in range, useful filters stay, and harmful filters go first."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnp_core.data import DefenseSet
from rnp_core.model import SuspectModel
from rnp_core.progress import Progress
from rnp_core.stages.filter_mask import find_maskable_layers
from rnp_core.stages.recover import HISTOGRAM_BINS, RecoverConfig, RecoverResult, recover
from rnp_core.stages.unlearn import UnlearnConfig, unlearn
from tests.helpers.models import IDLE, PLANTED, QuadrantMlp, QuadrantNet, planted_model, suspect
from tests.helpers.sets import quadrant_set

SET = quadrant_set(10)
SHORT = RecoverConfig(steps=5, batch_size=16)


def _recover(model: SuspectModel, config: RecoverConfig = SHORT) -> RecoverResult:
    return recover(model, find_maskable_layers(model, SET.images[:2]), SET, config=config)


def test_the_planted_filter_is_the_least_recovered_after_unlearning() -> None:
    model = planted_model()
    unlearned = unlearn(model, SET, config=UnlearnConfig(max_steps=120, relative_step=0.004)).model
    result = _recover(unlearned, RecoverConfig(steps=40, learning_rate=0.2))
    assert result.filter_mask["norm"][PLANTED] == 0
    assert result.filter_rank["norm"].argmin() == PLANTED


@pytest.mark.parametrize(
    "network",
    [QuadrantNet(), QuadrantNet(norm=False), QuadrantMlp(norm="layer"), QuadrantMlp(norm="batch")],
)
def test_one_value_per_filter_in_range(network: nn.Module) -> None:
    model = suspect(network)
    layers = find_maskable_layers(model, SET.images[:2])
    result = recover(model, layers, SET, config=RecoverConfig(steps=5, learning_rate=100.0))
    assert result.layers == layers
    for layer in layers:
        values = result.filter_mask[layer.name]
        assert values.shape == result.filter_rank[layer.name].shape == (layer.channels,)
        assert values.min() >= 0 and values.max() <= 1
        assert not values.requires_grad
    assert result.accuracy.shape == (5,)
    assert result.history.shape == (5, sum(layer.channels for layer in layers))
    assert torch.equal(result.history[-1], torch.cat(list(result.filter_mask.values())))


def test_a_filter_that_reaches_no_logit_keeps_its_mask() -> None:
    result = _recover(planted_model(norm=False))
    assert result.filter_mask["conv"][IDLE] == 1
    assert result.filter_rank["conv"][IDLE] == 1


def test_a_first_step_follows_the_gradient_of_the_masks() -> None:
    class Scale(nn.Module):
        """Logits (pixel 0, 0) through one masked layer."""

        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Linear(1, 2, bias=False)
            self.head = nn.Linear(2, 2, bias=False)
            self.hidden.weight.data = torch.tensor([[1.0], [1.0]])
            self.head.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.hidden(images[:, 0, 0, :1]))

    images = DefenseSet(torch.full((4, 3, 12, 12), 0.5), torch.zeros(4, dtype=torch.int64))
    model = suspect(Scale())
    layers = find_maskable_layers(model, images.images[:2])
    config = RecoverConfig(steps=1, learning_rate=0.5, loss_weight=0.4, momentum=0.0)
    result = recover(model, layers, images, config=config)
    # logits 0.5 each: softmax 1/2; d loss / d mask = 0.4 * 0.5 * (-1/2, 1/2); clamped at 1
    assert result.filter_mask["hidden"].tolist() == pytest.approx([1.0, 0.95])
    assert result.filter_rank["hidden"].tolist() == pytest.approx([1.05, 0.95])


def test_progress_and_history() -> None:
    seen: list[Progress] = []
    model = planted_model()
    layers = find_maskable_layers(model, SET.images[:2])
    config = RecoverConfig(steps=50, batch_size=8)
    result = recover(model, layers, SET, config=config, on_progress=seen.append)
    assert [(p.stage, p.step, p.total) for p in seen] == [("recover", i + 1, 50) for i in range(50)]
    assert [p.values["accuracy"] for p in seen] == pytest.approx(result.accuracy.tolist())
    total = sum(layer.channels for layer in layers)
    assert all(sum(p.values["mask_histogram"]) == total for p in seen)
    assert len(seen[-1].values["mask_histogram"]) == HISTOGRAM_BINS
    assert 20 <= len(result.history) <= 26
