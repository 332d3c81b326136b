"""Pruning: the order of the filters, and the choice among the candidates."""

from __future__ import annotations

import math

import pytest
import torch

from rnp_core.errors import ConfigError
from rnp_core.evaluation.success import attack_success_rate, robust_accuracy
from rnp_core.metrics import clean_accuracy
from rnp_core.progress import Progress
from rnp_core.stages.filter_mask import MaskableLayer
from rnp_core.stages.prune import PruneConfig, PrunedFilter, filter_order, group_by_layer, prune
from rnp_core.stages.recover import RecoverResult
from tests.helpers.models import CORNER_TRIGGER, IDLE, PLANTED, TARGET, planted_model
from tests.helpers.sets import quadrant_set
from tests.helpers.triggers import corner_patch

SET = quadrant_set(10)
CONFIG = PruneConfig(max_accuracy_drop=0.03, target_flip_rate=0.1, max_share=1.0, growth=1.5)


def _recovered(*order: int, layer: str = "norm") -> RecoverResult:
    """Masks and ranks that put the filters in this order; all others have mask 1."""
    mask, rank = torch.ones(8), torch.ones(8)
    for place, index in enumerate(order):
        mask[index] = 0.0
        rank[index] = -1.0 + 0.1 * place
    return RecoverResult(
        (MaskableLayer(layer, 8, True),), {layer: mask}, {layer: rank}, torch.ones(1), mask[None]
    )


@pytest.mark.parametrize("norm", [True, False])
def test_pruning_the_planted_filter_ends_the_attack_by_construction(norm: bool) -> None:
    model = planted_model(norm=norm)
    recovered = _recovered(PLANTED, layer="norm" if norm else "conv")
    result = prune(model, recovered, SET, [corner_patch()], config=CONFIG)
    assert [(f.layer, f.index) for f in result.filters] == [("norm" if norm else "conv", PLANTED)]
    assert result.disarmed
    truth = (SET.images, SET.labels, CORNER_TRIGGER, TARGET)
    assert attack_success_rate(model, *truth) == 1.0
    assert attack_success_rate(result.model, *truth) == 0.0
    assert robust_accuracy(result.model, *truth) == 1.0
    assert clean_accuracy(result.model, SET) == 1.0


def test_the_fewest_filters_that_disarm_are_chosen() -> None:
    result = prune(
        planted_model(), _recovered(IDLE, PLANTED, 0), SET, [corner_patch()], config=CONFIG
    )
    assert [f.index for f in result.filters] == [IDLE, PLANTED]
    assert [c.flip_rate for c in result.candidates] == [1.0, 1.0, 0.0]
    assert [c.count for c in result.candidates] == [0, 1, 2]


def test_scores_fall_along_the_order() -> None:
    result = prune(planted_model(), _recovered(IDLE, PLANTED), SET, [corner_patch()], config=CONFIG)
    assert result.filters == (
        PrunedFilter("norm", IDLE, 0.0, 1.0),
        PrunedFilter("norm", PLANTED, 0.0, 0.875),
    )


def test_the_last_filter_of_the_network_scores_one_nth() -> None:
    config = PruneConfig(max_accuracy_drop=1.0, max_share=1.0)
    order = _recovered(0, 1, 2, 3, 4, 5, IDLE, PLANTED)
    result = prune(planted_model(), order, SET, [corner_patch()], config=config)
    assert [f.score for f in result.filters] == [place / 8 for place in range(8, 0, -1)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_accuracy_drop": -0.1}, r"max_accuracy_drop in \[0, 1\], got -0.1"),
        ({"target_flip_rate": 1.5}, r"target_flip_rate in \[0, 1\], got 1.5"),
        ({"max_share": math.nan}, r"max_share in \[0, 1\], got nan"),
        ({"growth": 1.0}, "growth above 1, got 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PruneConfig(**changes)


def test_without_triggers_nothing_is_pruned() -> None:
    model = planted_model()
    seen: list[Progress] = []
    result = prune(model, _recovered(PLANTED), SET, [], config=CONFIG, on_progress=seen.append)
    assert result.filters == () and not result.disarmed and not seen
    (baseline,) = result.candidates
    assert baseline.count == 0 and baseline.clean_accuracy == 1.0
    assert math.isnan(baseline.flip_rate)
    assert torch.equal(result.model(SET.images), model(SET.images))


def test_triggers_that_do_not_work_ask_for_no_pruning() -> None:
    result = prune(planted_model(), _recovered(PLANTED), SET, [corner_patch(0)], config=CONFIG)
    assert result.filters == () and result.disarmed


def test_the_worst_trigger_counts() -> None:
    triggers = [corner_patch(0), corner_patch(TARGET)]
    result = prune(planted_model(), _recovered(PLANTED), SET, triggers, config=CONFIG)
    assert [c.flip_rate for c in result.candidates] == [1.0, 0.0]


def test_pruning_that_costs_too_much_is_not_chosen() -> None:
    every_class_filter_first = _recovered(0, 1, 2, 3, 4, 5, PLANTED)
    result = prune(planted_model(), every_class_filter_first, SET, [corner_patch()], config=CONFIG)
    assert result.filters == () and not result.disarmed
    assert result.candidates[-1].clean_accuracy < 1 - CONFIG.max_accuracy_drop


def test_no_more_than_the_allowed_share_is_tried() -> None:
    config = PruneConfig(max_share=0.25, growth=1.5)
    order = _recovered(IDLE, 0, PLANTED)
    result = prune(planted_model(), order, SET, [corner_patch()], config=config)
    assert [c.count for c in result.candidates] == [0, 1, 2]
    assert not result.disarmed


def test_filters_with_equal_masks_are_ordered_by_rank() -> None:
    recovered = RecoverResult(
        (MaskableLayer("a", 2, True), MaskableLayer("b", 2, True)),
        {"a": torch.tensor([0.5, 0.0]), "b": torch.tensor([0.0, 1.0])},
        {"a": torch.tensor([-9.0, -1.0]), "b": torch.tensor([-2.0, 1.0])},
        torch.ones(1),
        torch.ones(1, 4),
    )
    assert filter_order(recovered) == [("b", 0, 0.0), ("a", 1, 0.0), ("a", 0, 0.5), ("b", 1, 1.0)]


def test_groups_by_layer_in_order() -> None:
    filters = [
        PrunedFilter(layer, index, 0.0, 1.0) for layer, index in (("b", 3), ("a", 0), ("b", 1))
    ]
    assert group_by_layer((row.layer, row.index) for row in filters) == {"b": [3, 1], "a": [0]}


def test_progress_counts_the_candidates() -> None:
    seen: list[Progress] = []
    config = PruneConfig(max_share=1.0, growth=2.0, target_flip_rate=0.1)
    order = _recovered(IDLE, PLANTED)
    prune(planted_model(), order, SET, [corner_patch()], config=config, on_progress=seen.append)
    assert [(p.stage, p.step, p.total) for p in seen] == [("prune", 1, 4), ("prune", 2, 4)]


def test_a_flip_rate_that_is_tolerated_costs_no_filter() -> None:
    config = PruneConfig(max_share=1.0, target_flip_rate=1.0)
    result = prune(planted_model(), _recovered(PLANTED), SET, [corner_patch()], config=config)
    assert result.filters == () and result.disarmed
