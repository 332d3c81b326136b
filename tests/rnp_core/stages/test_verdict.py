"""Evidence to labels, labels to a verdict."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from rnp_core.config import ScanConfig
from rnp_core.inversion import RecoveredTrigger
from rnp_core.report import StageRow
from rnp_core.stages.sinusoids import SINUSOID, USUAL_LEAD
from rnp_core.stages.target_label import (
    LabelEvidence,
    ScoreWeights,
    UniversalEvidence,
    accusing_kind,
    best_trigger,
    suspected_target_labels,
    tail_spread,
    weigh_labels,
    weigh_universal,
)
from rnp_core.stages.verdict import DECISIVE_STAGES, Judgement, judge
from tests.helpers.triggers import sized_trigger as trigger

DONE = [StageRow(name, "done", 1.0) for name in DECISIVE_STAGES]
EVEN = torch.full((4,), 0.25)


def row(label: int, score: float) -> LabelEvidence:
    return LabelEvidence(
        label, 0.3, 5.0, 0.4, 3.0, "patch", 0.5, 1.2, -0.1, math.nan, 0.0, score
    )  # fmt: skip


def verdict(scores: list[float], **changes: object) -> Judgement:
    arguments = {
        "stages": DONE,
        "clean_accuracy": 0.9,
        "collapsed": True,
        "config": ScanConfig(),
        **changes,
    }
    labels = [row(label, score) for label, score in enumerate(scores)]
    return judge(labels, [f"name{i}" for i in range(len(scores))], **arguments)  # type: ignore


def test_a_small_trigger_and_a_large_share_accuse() -> None:
    shares = torch.tensor([0.05, 0.05, 0.85, 0.05])
    found = {"patch": [trigger(0, 20), trigger(1, 22), trigger(2, 3), trigger(3, 21)]}
    rows = weigh_labels(shares, found)
    assert suspected_target_labels(rows) == (2,)
    assert rows[2].norm_ratio == pytest.approx(3 / 20.5)
    assert rows[2].kind == "patch"
    chance = 0.28 * math.sqrt(2 * math.log(4))
    assert rows[2].size_outlier == pytest.approx(-math.log(3 / 20.5) - chance)


def test_the_best_trigger_is_the_smallest_that_works() -> None:
    found = [trigger(0, 3, flips=0.1), trigger(0, 9), trigger(0, 12), trigger(1, 1)]
    assert best_trigger(found, 0, min_flip_rate=0.5).size == 9
    weak = [trigger(0, 3, flips=0.1), trigger(0, 9, flips=0.3)]
    assert best_trigger(weak, 0, min_flip_rate=0.5).size == 9


def test_like_triggers_accuse_nobody() -> None:
    found = {"patch": [trigger(label, 20 + label) for label in range(4)]}
    assert suspected_target_labels(weigh_labels(EVEN, found)) == ()


def test_a_trigger_that_flips_little_is_not_small() -> None:
    found = {"patch": [trigger(0, 2, flips=0.2), *(trigger(k, 20) for k in (1, 2, 3))]}
    assert weigh_labels(EVEN, found)[0].norm_ratio > 1.0


def test_a_trigger_that_just_misses_the_flip_rate_still_counts() -> None:
    found = {"patch": [trigger(0, 2, flips=0.48), *(trigger(k, 20) for k in (1, 2, 3))]}
    assert weigh_labels(EVEN, found)[0].norm_ratio == pytest.approx(0.1 * (0.5 / 0.48) ** 4)


def test_a_trigger_that_flips_nothing_is_no_number_trouble() -> None:
    found = {"patch": [trigger(0, 1e-3, flips=0.0), *(trigger(k, 20) for k in (1, 2, 3))]}
    rows = weigh_labels(EVEN, found)
    assert all(math.isfinite(row.norm_ratio) for row in rows)
    assert suspected_target_labels(rows) == ()


def test_the_smaller_of_two_starts_counts() -> None:
    found = {"patch": [*(trigger(label, 20) for label in range(4)), trigger(0, 4)]}
    assert weigh_labels(EVEN, found)[0].trigger_norm == 4


def test_more_starts_reach_a_smaller_trigger_by_chance() -> None:
    sizes = {"patch": [trigger(label, 20) for label in range(4)]}
    once = weigh_labels(EVEN, {"patch": [*sizes["patch"][1:], trigger(0, 10)]})[0]
    often = weigh_labels(EVEN, {"patch": [*sizes["patch"], trigger(0, 12), trigger(0, 10)]})[0]
    assert often.norm_ratio == once.norm_ratio == 0.5
    assert often.size_outlier < once.size_outlier


# patch sizes in pixels of two clean networks on twelve signs, the first trained for one epoch
UNTRAINED = [28.9, 71.3, 67.3, 13.5, 25.0, 27.6, 72.4, 75.4, 84.5, 60.6, 53.2, 32.9]
TRAINED = [50.0, 55.0, 48.0, 13.5, 61.0, 52.0, 58.0, 47.0, 66.0, 54.0, 45.0, 57.0]


def test_one_small_trigger_says_less_where_many_are_small() -> None:
    shares = torch.full((12,), 1 / 12)

    def outlier(sizes: list[float]) -> float:
        found = {"patch": [trigger(label, size) for label, size in enumerate(sizes)]}
        return weigh_labels(shares, found)[3].size_outlier

    assert outlier(TRAINED) > 0.5
    assert outlier(UNTRAINED) < 0.1
    assert outlier([size * 10 if size > 55 else size for size in TRAINED]) > 0.5


def test_a_spread_is_that_of_the_suspicious_side_without_two_targets() -> None:
    usual = np.linspace(-0.3, 0.3, 10)
    assert tail_spread(np.r_[usual, 5.0, 6.0], 0.2) == pytest.approx(0.2)
    assert tail_spread(np.r_[usual - 5 * (usual < 0), 5.0, 6.0], 0.2) == pytest.approx(0.2)
    assert tail_spread(np.r_[10 * usual, 5.0, 6.0], 0.2) > 1.0
    assert tail_spread(np.r_[[np.nan] * 5, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.2) == 0.2


def test_shares_weigh_less_without_batch_norm() -> None:
    shares = torch.tensor([0.97, 0.01, 0.01, 0.01])
    found = {"patch": [trigger(label, 20) for label in range(4)]}
    with_norm = weigh_labels(shares, found)[0].score
    without = weigh_labels(shares, found, used_batch_statistics=False)[0].score
    assert without < with_norm


def test_labels_without_triggers_are_judged_by_their_share() -> None:
    rows = weigh_labels(EVEN, {})
    assert all(math.isnan(entry.norm_ratio) and entry.kind == "" for entry in rows)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.1, 0.0, 0.95], "backdoored"),
        ([0.1, 0.0, 0.6], "suspicious"),
        ([0.1, 0.0, 0.2], "no_evidence"),
    ],
)
def test_three_states_by_score(scores: list[float], expected: str) -> None:
    judged = verdict(scores)
    assert judged.verdict == expected
    assert judged.backdoor_score == max(scores)
    assert judged.reason.endswith(".")
    assert "clean model" not in judged.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stages": [StageRow("unlearn", "failed", 0, "boom"), *DONE[1:]]}, "unlearn failed: boom"),
        ({"stages": [DONE[0], StageRow("triggers", "failed", 0, "x")]}, "triggers failed"),
        ({"clean_accuracy": 0.6}, "60% of the clean images"),
        ({"collapsed": False}, "did not bring the accuracy down"),
    ],
)
def test_gaps_make_it_inconclusive_and_take_no_accusation_back(
    changes: dict[str, object], reason: str
) -> None:
    mild = verdict([0.1, 0.2], **changes)
    assert mild.verdict == "inconclusive"
    assert reason in mild.reason
    accused = verdict([0.1, 0.6], **changes)
    assert accused.verdict == "suspicious"
    assert any(reason in finding.message for finding in accused.findings)
    assert verdict([0.1, 0.95], **changes).verdict == "backdoored"


def test_nothing_accuses_a_model_that_only_guesses() -> None:
    judged = verdict([0.1, 0.95], clean_accuracy=0.52)
    assert (judged.verdict, judged.suspected_target_labels) == ("inconclusive", ())


def test_without_labels_nothing_can_be_said() -> None:
    stages = [*DONE[:2], StageRow("target label", "failed", 0, "boom")]
    judged = judge(
        (), ["a", "b"], stages, clean_accuracy=0.9, collapsed=True, config=ScanConfig()
    )
    assert (judged.verdict, judged.backdoor_score) == ("inconclusive", 0.0)
    assert "target label failed: boom" in judged.reason


def test_a_little_over_chance_says_little() -> None:
    assert verdict([0.1, 0.2, 0.1], clean_accuracy=0.5).verdict == "inconclusive"
    assert verdict([0.1, 0.2, 0.1], clean_accuracy=0.7).verdict == "no_evidence"


def test_between_two_classes_nothing_stands_out() -> None:
    sizes = {"patch": [trigger(0, 30), trigger(1, 2)]}
    labels = weigh_labels(torch.tensor([0.0, 1.0]), sizes)
    assert suspected_target_labels(labels) == ()
    assert labels[1].trigger_norm == 2
    judged = judge(
        labels, ["a", "b"], DONE, clean_accuracy=1.0, collapsed=True, config=ScanConfig()
    )
    assert judged.verdict == "inconclusive"
    assert "2 classes" in judged.reason
    assert "RNP002" in {finding.rule for finding in judged.findings}


def test_several_suspects_come_most_suspicious_first() -> None:
    judged = verdict([0.9, 0.1, 0.95])
    assert judged.suspected_target_labels == (2, 0)
    assert [finding.severity for finding in judged.findings] == ["critical", "critical"]


def test_a_small_trigger_to_any_other_class_is_weighed_against_those_to_one() -> None:
    to_one = [trigger(label, 20.0) for label in range(4)]
    small, large = (weigh_universal(trigger(-1, size), to_one) for size in (4.0, 24.0))
    assert small and small.norm_ratio == pytest.approx(0.2)
    assert small.score > 0.9
    assert large and large.score < 0.05
    assert weigh_universal(trigger(-1, 4.0), to_one[:2]) is None


def test_a_trigger_to_any_other_class_says_nothing_where_one_to_a_label_is_as_small() -> None:
    def score(*sizes: float) -> float:
        to_one = [trigger(label, size) for label, size in enumerate(sizes)]
        found = weigh_universal(trigger(-1, 6.0), to_one)
        assert found
        return found.score

    assert score(20.0, 40.0, 30.0, 25.0) > 0.8
    assert score(8.0, 40.0, 30.0, 25.0) < 0.15  # fine-tuned on half of its classes
    assert score(2.0, 40.0, 30.0, 25.0) < 0.01  # a target


def test_a_trigger_to_any_other_class_accuses_without_a_label() -> None:
    found = verdict([0.1, 0.2, 0.1], universal=UniversalEvidence(0.1, 0.97))
    assert (found.verdict, found.backdoor_score) == ("backdoored", 0.97)
    assert found.suspected_target_labels == ()
    assert found.target_depends_on_image and found.accuses
    assert found.findings[0].rule == "RNP010"
    assert "depends on the image" in found.reason
    both = verdict([0.1, 0.9, 0.1], universal=UniversalEvidence(0.4, 0.6))
    assert both.suspected_target_labels == (1,) and both.backdoor_score == 0.9
    assert [finding.rule for finding in both.findings] == ["RNP001", "RNP010"]


@pytest.mark.parametrize(
    "changes",
    [
        {"universal": UniversalEvidence(1.1, 0.02)},
        {"universal": UniversalEvidence(0.1, 0.97), "clean_accuracy": 0.4},
    ],
)
def test_a_large_one_or_a_poor_network_accuses_nobody(changes: dict[str, object]) -> None:
    found = verdict([0.1, 0.2, 0.1], **changes)
    assert not found.accuses
    assert found.backdoor_score == 0.2


def test_a_label_on_which_shares_and_sizes_agree_scores_higher() -> None:
    shares = torch.full((10,), 0.08)
    shares[4] = 0.28
    agreeing = [trigger(label, 12.0 if label == 4 else 20.0) for label in range(10)]
    other = [trigger(label, 12.0 if label == 5 else 20.0) for label in range(10)]

    def logit(found: list[RecoveredTrigger], label: int, **options: bool) -> float:
        return math.log(
            (score := weigh_labels(shares, {"patch": found}, **options)[label].score) / (1 - score)
        )

    gain = logit(agreeing, 4) - (logit(other, 5) + 4 * (0.28 - 0.08))
    assert gain == pytest.approx(math.log(10 / 2), abs=1e-4)
    without = logit(agreeing, 4, used_batch_statistics=False)
    assert without == pytest.approx(logit(agreeing, 4) - math.log(5) - 3 * (0.28 - 0.1), abs=1e-4)
    again = [*other, trigger(4, 1.0)]  # a further start of one label is no agreement
    assert logit(again, 4) < logit([trigger(4, 1.0), *other], 4)


def sure_of(label: int, largest: float = 17.0) -> torch.Tensor:
    """Margins of ten labels of which that of ``label`` is the largest."""
    return torch.where(torch.arange(10) == label, largest, 10.0)


@pytest.mark.parametrize(
    ("largest_share", "smallest", "margins", "expected"),
    [
        (4, 4, sure_of(4), 2 * math.log(5)),
        (4, 4, sure_of(5), math.log(5)),
        (4, 5, sure_of(4), math.log(5)),
        (4, 5, sure_of(4, largest=15.0), 0.0),  # as large as chance makes one of ten
        (5, 4, sure_of(4), 0.0),
        (4, 5, None, 0.0),
    ],
)
def test_sizes_and_margins_agree_with_the_largest_share(
    largest_share: int, smallest: int, margins: torch.Tensor | None, expected: float
) -> None:
    shares = torch.full((10,), 0.08)
    shares[largest_share] = 0.28
    found = {"patch": [trigger(k, 12.0 if k == smallest else 20.0) for k in range(10)]}
    rows = weigh_labels(shares, found, margins=margins)
    assert max(row.agreement for row in rows) == pytest.approx(expected)
    assert all(row.agreement == 0 for row in rows if row.label != largest_share)
    without = weigh_labels(shares, found, margins=margins, used_batch_statistics=False)
    assert all(row.agreement == 0 for row in without)


@pytest.mark.parametrize(
    ("label", "lead", "expected"),
    [(4, 0.6, math.log(5)), (4, 0.4, 0.0), (5, 0.6, 0.0), (None, math.nan, 0.0)],
)
def test_waves_agree_with_the_largest_share(
    label: int | None, lead: float, expected: float
) -> None:
    shares = torch.full((10,), 0.08)
    shares[4] = 0.28
    leads = None if label is None else torch.where(torch.arange(10) == label, lead, -1.0)
    rows = weigh_labels(shares, {}, sinusoid_leads=leads)
    assert rows[4].agreement == pytest.approx(expected)
    assert sum(row.agreement for row in rows) == pytest.approx(expected)


def test_a_label_that_faint_waves_reach_as_no_other_scores_higher() -> None:
    leads = torch.tensor([-1.0, USUAL_LEAD, -2.0, USUAL_LEAD + 1.5])
    without = weigh_labels(EVEN, {})
    rows = weigh_labels(EVEN, {}, sinusoid_leads=leads)
    assert rows[3].score > without[3].score and rows[3].sinusoid_lead == pytest.approx(3.5)
    assert all(rows[label].score == without[label].score for label in (0, 1, 2))
    weightless = weigh_labels(EVEN, {}, sinusoid_leads=leads, weights=ScoreWeights(sinusoid=0))
    assert weightless[3].score == without[3].score


def test_the_reason_names_the_waves() -> None:
    waved = dataclasses.replace(row(0, 0.9), sinusoid_lead=USUAL_LEAD + 1)
    found = judge([waved, *(row(label, 0.1) for label in range(1, 4))], ["a", "b", "c", "d"], DONE,
                  clean_accuracy=0.9, collapsed=True, config=ScanConfig())
    assert "backdoor: faint waves" in found.reason
    larger = dataclasses.replace(waved, norm_ratio=1.2)
    found = judge([larger, *(row(label, 0.1) for label in range(1, 4))], ["a", "b", "c", "d"], DONE,
                  clean_accuracy=0.9, collapsed=True, config=ScanConfig())
    assert "trigger" not in found.reason
    assert "faint waves" not in verdict([0.9, 0.1, 0.1, 0.1]).reason


def test_waves_choose_the_kind_of_trigger() -> None:
    leads = torch.tensor([USUAL_LEAD + 1, -3.0, -3.0, -4.0])
    patches = [trigger(label, 3.0 if label == 0 else 30.0) for label in range(4)]
    waves = [trigger(label, 30.0, kind=SINUSOID) for label in range(4)]
    found = {"patch": patches, SINUSOID: waves}
    rows = weigh_labels(EVEN, found, sinusoid_leads=leads)
    assert rows[0].kind == "patch"
    assert [accusing_kind(row, found) for row in rows] == [SINUSOID, "patch", "patch", "patch"]
    assert accusing_kind(rows[0], {"patch": patches}) == "patch"
