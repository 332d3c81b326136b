"""The planted backdoor of the test helpers does what it is for: one filter carries the attack."""

from __future__ import annotations

import pytest

from rnp_core.errors import DataError
from rnp_core.evaluation.success import attack_success_rate, robust_accuracy
from rnp_core.evaluation.triggers import PatchTrigger
from rnp_core.metrics import clean_accuracy
from rnp_core.stages.filter_mask import prune_filters
from tests.helpers.models import (
    CORNER_TRIGGER,
    PLANTED,
    SIDE,
    TARGET,
    QuadrantMlp,
    QuadrantNet,
    planted_model,
    suspect,
)
from tests.helpers.sets import quadrant_set

SET = quadrant_set(10)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("index", range(8))
def test_exactly_one_filter_carries_the_attack(norm: bool, index: int) -> None:
    pruned = prune_filters(planted_model(norm=norm), {"norm" if norm else "conv": [index]})
    rate = attack_success_rate(pruned, SET.images, SET.labels, CORNER_TRIGGER, TARGET)
    assert rate == (0.0 if index == PLANTED else 1.0)
    if index == PLANTED:
        assert clean_accuracy(pruned, SET) == 1.0
        assert robust_accuracy(pruned, SET.images, SET.labels, CORNER_TRIGGER, TARGET) == 1.0


@pytest.mark.parametrize("top", [0, 3, SIDE - 2])
def test_the_trigger_works_in_its_corner_alone(top: int) -> None:
    moved = PatchTrigger(top, top, CORNER_TRIGGER.values)
    rate = attack_success_rate(planted_model(), SET.images, SET.labels, moved, TARGET)
    assert rate == (1.0 if top == SIDE - 2 else 0.0)


@pytest.mark.parametrize(
    "network",
    [
        QuadrantNet(backdoor=False),
        QuadrantMlp(),
        QuadrantMlp(norm="layer"),
        QuadrantMlp(norm="batch"),
    ],
)
def test_the_other_networks_are_right_and_have_no_backdoor(network) -> None:
    model = suspect(network)
    assert clean_accuracy(model, SET) == 1.0
    assert attack_success_rate(model, SET.images, SET.labels, CORNER_TRIGGER, TARGET) == 0.0


@pytest.mark.parametrize(("top", "left"), [(-1, 0), (0, -2)])
def test_a_patch_before_the_first_pixel_is_refused(top: int, left: int) -> None:
    with pytest.raises(DataError, match=rf"rows {top} to {top + 1} and columns {left} to"):
        PatchTrigger(top, left, CORNER_TRIGGER.values).apply(SET.images)
