"""Repair: the triggers stop working, the clean answers stay, silent filters stay silent."""

from __future__ import annotations

import pytest
import torch

from rnp_core.errors import ConfigError
from rnp_core.evaluation.success import attack_success_rate
from rnp_core.inversion import KINDS, flip_rate
from rnp_core.metrics import clean_accuracy
from rnp_core.model import SuspectModel
from rnp_core.progress import Progress
from rnp_core.stages.filter_mask import prune_filters
from rnp_core.stages.repair import RepairConfig, repair
from tests.helpers.models import (
    CLASSES,
    CORNER_TRIGGER,
    TARGET,
    QuadrantMlp,
    planted_filter,
    planted_model,
    suspect,
)
from tests.helpers.sets import quadrant_set
from tests.helpers.triggers import corner_patch, untrained_trigger

SET = quadrant_set(10)
SHORT = RepairConfig(steps=3, batch_size=16)


def test_unlearns_the_trigger_and_keeps_the_clean_answers() -> None:
    model, trigger = planted_model(), corner_patch()
    config = RepairConfig(steps=150, batch_size=32, learning_rate=0.5, triggered_share=0.5)
    repaired = repair(model, SET, [trigger], size_limits=[20.0], config=config)
    assert flip_rate(model, trigger, SET) == 1.0
    assert flip_rate(repaired, trigger, SET) == 0.0
    truth = (SET.images, SET.labels, CORNER_TRIGGER, TARGET)
    assert attack_success_rate(repaired, *truth) == 0.0
    assert clean_accuracy(repaired, SET) == 1.0


def test_parameters_that_are_zero_stay_zero_and_others_move() -> None:
    pruned = prune_filters(planted_model(), planted_filter())
    repaired = repair(pruned, SET, [corner_patch()], size_limits=[20.0], config=SHORT)
    for before, after in zip(pruned.parameters(), repaired.parameters(), strict=True):
        assert after[before == 0].abs().sum() == 0
        assert torch.equal(before, after) == (not before.any())


def test_running_statistics_stay() -> None:
    model = planted_model()
    repaired = repair(model, SET, [corner_patch()], size_limits=[20.0], config=SHORT)
    before = dict(model.named_buffers())
    assert all(torch.equal(values, before[name]) for name, values in repaired.named_buffers())


def test_the_result_is_still() -> None:
    repaired = repair(
        suspect(QuadrantMlp()), SET, [corner_patch()], size_limits=[20.0], config=SHORT
    )
    assert isinstance(repaired, SuspectModel)
    assert not any(module.training for module in repaired.modules())
    assert not any(p.requires_grad or p.grad is not None for p in repaired.parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_every_kind_and_share(kind: str, share: float) -> None:
    trigger = untrained_trigger(kind)
    config = RepairConfig(steps=1, batch_size=8, triggered_share=share)
    assert repair(planted_model(), SET, [trigger], size_limits=[20.0], config=config)(
        SET.images
    ).shape == (40, CLASSES)


def test_progress_counts_the_steps() -> None:
    seen: list[Progress] = []
    repair(
        planted_model(),
        SET,
        [corner_patch(), corner_patch(0)],
        size_limits=[20.0, 20.0],
        config=SHORT,
        on_progress=seen.append,
    )
    assert [(p.stage, p.step, p.total) for p in seen] == [("repair", i + 1, 3) for i in range(3)]


def test_needs_a_trigger_and_a_limit_for_each() -> None:
    with pytest.raises(ConfigError, match="at least one trigger and one size limit for each"):
        repair(planted_model(), SET, [corner_patch()], size_limits=[])
