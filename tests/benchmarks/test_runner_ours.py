"""Our own scan as a method of the benchmark."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from benchmarks.baselines.contract import Outcome
from benchmarks.ours import ABLATIONS, our_scan
from rnp_core.config import preset_config
from rnp_core.pipeline import scan
from rnp_core.stages import removal
from rnp_core.stages.recover import RecoverResult
from rnp_core.stages.unlearn import unlearn
from tests.benchmarks.tiny import planted_defence
from tests.helpers.models import CLASSES
from tests.helpers.triggers import sized_trigger

QUICK = preset_config("quick")
SHORT = dataclasses.replace(
    QUICK,
    attributed_samples=1,
    unlearn_stage=dataclasses.replace(QUICK.unlearn_stage, max_steps=5),
    recover_stage=dataclasses.replace(QUICK.recover_stage, steps=3),
    invert_stage=dataclasses.replace(QUICK.invert_stage, steps=12),
    repair_stage=dataclasses.replace(QUICK.repair_stage, steps=2),
)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return our_scan(planted_defence(), config=SHORT, name="mine")["mine"]


def test_it_says_what_the_scan_says(outcome: Outcome) -> None:
    defence = planted_defence()
    report = scan(defence.model, defence.clean, config=SHORT).report
    assert outcome.verdict == report.verdict and outcome.score == report.backdoor_score
    assert list(outcome.labels or ()) == report.suspected_target_labels
    assert outcome.pruned_filters == len(report.pruned_filters)


def test_every_label_that_was_looked_at_has_its_accusing_trigger(outcome: Outcome) -> None:
    assert outcome.triggers and set(outcome.triggers) <= set(range(CLASSES))
    kinds = {row["label"]: row["kind"] for row in outcome.notes["evidence"]}
    for label, trigger in outcome.triggers.items():
        assert trigger.label == label and trigger.kind == kinds[label]


def test_suspects_keep_their_order_and_stages_their_times(outcome: Outcome) -> None:
    assert outcome.sample_scores is not None and outcome.sample_flags is not None
    assert outcome.sample_scores.shape == outcome.sample_flags.shape == (40,)
    assert {"unlearn", "triggers"} <= set(outcome.notes["stages"])
    assert outcome.notes["failed_stages"] == []


def test_a_choice_is_undone_for_one_scan_only() -> None:
    usual, seen = removal.ROUNDS, []

    def spy(*arguments: Any, **settings: Any) -> Any:
        seen.append(removal.ROUNDS)
        return unlearn(*arguments, **settings)

    replaced = {**ABLATIONS["one-round"].replaced, "rnp_core.pipeline.unlearn": spy}
    our_scan(planted_defence(), config=SHORT, replaced=replaced)
    assert seen == [1]
    assert usual == removal.ROUNDS


def test_a_patch_to_any_class_can_be_held_against_the_median() -> None:
    weigh = ABLATIONS["any-class-against-median"].replaced["rnp_core.pipeline.weigh_universal"]
    patches = [sized_trigger(label, 10.0 + label) for label in range(5)]
    patches += [sized_trigger(0, 3.0), sized_trigger(1, 90.0)]  # further starts count no more
    found = weigh(sized_trigger(-1, 6.0), patches)  # type: ignore[operator]
    assert found is not None and found.norm_ratio == pytest.approx(6 / 12)
    assert weigh(sized_trigger(-1, 6.0), patches[:2]) is None  # type: ignore[operator]


def test_filters_can_be_ordered_by_their_masks_alone() -> None:
    order = ABLATIONS["mask-alone"].replaced["rnp_core.stages.prune.filter_order"]
    masks = {"a": torch.tensor([0.5, 0.0]), "b": torch.tensor([0.0, 1.0])}
    ranks = {"a": torch.tensor([0.5, -1.0]), "b": torch.tensor([-2.0, 1.0])}
    recovered = RecoverResult((), masks, ranks, torch.empty(0), torch.empty(0))
    found = order(recovered)  # type: ignore[operator]
    assert found == [("a", 1, 0.0), ("b", 0, 0.0), ("a", 0, 0.5), ("b", 1, 1.0)]
