"""What is measured with the truth: triggered images, suspects, patches and rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.baselines.contract import Outcome
from benchmarks.methods import Method
from benchmarks.reactivation import ReactivationConfig, hold_back, reactivate, with_new_trigger
from benchmarks.rows import Row
from benchmarks.tasks import Prepared, TaskLimits, draw_suspects, prepare, run_method
from benchmarks.truth import GroundTruth, TriggeredImages, mask_overlap, patch_mask, read_truth
from rnp_core.data import DefenseSet
from tests.benchmarks.tiny import planted_defence, tiny_subject
from tests.helpers.models import CLASSES, SIDE, TARGET, QuadrantNet, planted_model, suspect
from tests.helpers.sets import quadrant_set
from tests.helpers.triggers import corner_patch

CORNER = torch.zeros(1, SIDE, SIDE)
CORNER[:, -2:, -2:] = 1.0


def truth_of(folder: Path, **changes) -> GroundTruth:
    return read_truth(tiny_subject(folder, **changes), planted_model(), max_images=1000, seed=0)


def test_triggered_images_leave_out_those_of_the_target(tmp_path: Path) -> None:
    (part,) = truth_of(tmp_path).triggered
    truth = truth_of(tmp_path)
    assert part.target == TARGET and len(part.images) == 60
    assert not (truth.clean.labels[part.indices] == TARGET).any()
    assert (part.wanted == TARGET).all()
    assert torch.allclose(part.images[..., -2:, -2:], torch.eye(2), atol=1e-6)


def test_a_source_specific_attack_is_measured_on_its_sources(tmp_path: Path) -> None:
    truth = truth_of(tmp_path, sources=(0, 3))
    labels = truth.clean.labels[truth.triggered[0].indices]
    assert sorted(labels.unique().tolist()) == [0, 3]


def test_all_to_all_wants_the_next_label_on_every_image(tmp_path: Path) -> None:
    truth = truth_of(tmp_path, targets=())
    (part,) = truth.triggered
    assert part.target is None and len(part.images) == len(truth.clean)
    assert torch.equal(part.wanted, (truth.clean.labels[part.indices] + 1) % CLASSES)


def test_two_targets_share_the_measured_images(tmp_path: Path) -> None:
    truth = truth_of(tmp_path, targets=(1, 2))
    assert [part.target for part in truth.triggered] == [1, 2]
    assert truth.sizes(20) == (20, 20)
    measured = truth.measure(planted_model(), max_images=1000)
    assert measured.clean_accuracy == 1.0
    assert measured.attack_success_rate == pytest.approx(0.5, abs=0.05)  # one of two triggers


def test_a_clean_model_has_no_attack_success(tmp_path: Path) -> None:
    truth = truth_of(tmp_path, attack="none", targets=())
    assert truth.measure(planted_model(), max_images=50) == (1.0, None)
    assert draw_suspects(truth, 10) == (None, None)


@pytest.mark.parametrize("targets", [(TARGET,), (1, 2), ()])
def test_suspects_are_made_from_different_images(tmp_path: Path, targets: tuple) -> None:
    truth = truth_of(tmp_path, targets=targets)
    suspects, is_triggered = draw_suspects(truth, 24)
    assert suspects is not None and is_triggered is not None
    assert int((~is_triggered).sum()) == 24 and abs(int(is_triggered.sum()) - 24) <= 6
    inside = suspects[..., :-2, :]  # without the corner
    distances = torch.cdist(inside[~is_triggered].flatten(1), inside[is_triggered].flatten(1))
    assert float(distances.min()) > 0.05


def test_the_true_patch_is_where_the_trigger_changes_pixels(tmp_path: Path) -> None:
    truth = truth_of(tmp_path)
    mask = patch_mask(truth, truth.triggered[0])
    assert mask is not None and torch.equal(mask, CORNER)
    assert mask_overlap(corner_patch(), mask) == pytest.approx(1.0)
    assert mask_overlap(corner_patch(), 1 - CORNER) == pytest.approx(0.0)


def test_a_trigger_over_the_whole_image_is_no_patch(tmp_path: Path) -> None:
    clean = quadrant_set(3)
    blend = TriggeredImages(0, torch.arange(12), clean.images * 0.8, torch.zeros(12).long())
    assert patch_mask(GroundTruth(clean, (blend,)), blend) is None


def prepared(folder: Path, *, targets: tuple[int, ...] = (TARGET,)) -> Prepared:
    truth = truth_of(folder, targets=targets)
    suspects, is_triggered = draw_suspects(truth, 20)
    defence = planted_defence()
    return Prepared(
        type(defence)(defence.model, defence.clean, suspects), truth, is_triggered, TaskLimits()
    )


def measured(folder: Path, outcome: Outcome, *, targets: tuple[int, ...] = (TARGET,)) -> Row:
    subject = tiny_subject(folder, targets=targets)
    blank = Row(
        "tiny", "?", 500, 0, "paper", "small", "report", "badnets", "", "mlp", list(targets)
    )
    method = Method("m", ("m",), lambda defence: {"m": outcome})
    (row,) = run_method(method, subject, prepared(folder, targets=targets), blank)
    return row


def test_a_right_answer_is_measured_as_right(tmp_path: Path) -> None:
    inputs = prepared(tmp_path)
    assert inputs.is_triggered is not None
    outcome = Outcome(
        verdict="backdoored",
        score=0.9,
        labels=(TARGET,),
        repaired=planted_model(),
        triggers={TARGET: corner_patch()},
        sample_scores=inputs.is_triggered.float(),
        sample_flags=inputs.is_triggered,
    )
    row = measured(tmp_path, outcome)
    assert row.first_label_right and row.targets_found and row.method == "m"
    assert row.accuracy_before == row.accuracy_after == 1.0
    assert row.asr_before == row.asr_after == row.asr_reactivated == 1.0
    assert row.asr_reactivated_by_one == 1.0
    assert (row.test_images, row.triggered_images) == (80, 60)
    assert row.trigger_flip_rate == 1.0 and row.trigger_overlap == pytest.approx(1.0)
    assert row.sample_auroc == row.sample_tpr == row.flagged_triggered == 1.0
    assert row.flagged_clean == 0.0
    assert row.seconds is not None and row.peak_mib


def test_poisoned_images_bring_a_backdoor_in_and_leave_the_model_alone(tmp_path: Path) -> None:
    truth, clean = truth_of(tmp_path), quadrant_set(12)
    model = suspect(QuadrantNet(backdoor=False))
    before = {name: t.clone() for name, t in model.state_dict().items()}
    config = ReactivationConfig(learning_rate=0.1, steps=60)
    poisoned, wanted, rest = hold_back(truth, 10)
    assert len(poisoned) == len(wanted) == 10
    assert len(rest.triggered[0].images) == len(truth.triggered[0].images) - 10
    woken = reactivate(model, clean, poisoned, wanted, seed=0, config=config)
    assert truth.measure(model, max_images=40).attack_success_rate == pytest.approx(0, abs=0.1)
    assert (truth.measure(woken, max_images=40).attack_success_rate or 0) > 0.8
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    again = reactivate(model, clean, poisoned, wanted, seed=0, config=config).state_dict()
    assert all(torch.equal(t, again[n]) for n, t in woken.state_dict().items())


def test_a_wrong_label_and_a_missing_trigger_count_as_wrong(tmp_path: Path) -> None:
    wrong = (TARGET + 1) % CLASSES
    row = measured(tmp_path, Outcome(labels=(wrong, TARGET), triggers={wrong: corner_patch(wrong)}))
    assert row.first_label_right is False and row.targets_found is True
    assert row.trigger_flip_rate == 0.0 and row.trigger_overlap == 0.0
    assert row.accuracy_after is None and row.asr_after is None and row.sample_auroc is None


def test_labels_are_not_judged_when_the_target_depends_on_the_image(tmp_path: Path) -> None:
    row = measured(tmp_path, Outcome(labels=(0,), triggers={}), targets=())
    assert row.first_label_right is None and row.trigger_flip_rate is None


def test_a_subject_is_read_with_so_many_clean_images(tmp_path: Path) -> None:
    found = prepare(tiny_subject(tmp_path), clean_count=24, seed=3, limits=TaskLimits(samples=10))
    assert len(found.defence.clean) == 24
    assert torch.bincount(found.defence.clean.labels).tolist() == [6] * CLASSES
    assert not found.defence.flips and found.defence.oracle is not None
    assert found.defence.suspects is not None and len(found.defence.suspects) == 20
    assert isinstance(found.truth.clean, DefenseSet) and len(found.truth.clean) == 80
    cifar = tiny_subject(tmp_path, card={"dataset": "cifar10"})
    assert prepare(cifar, clean_count=24, seed=0).defence.flips


def test_a_clean_model_learns_a_trigger_that_is_new_to_it(tmp_path: Path) -> None:
    truth = with_new_trigger(truth_of(tmp_path))
    (part,) = truth.triggered
    assert part.target == 0 and not (truth.clean.labels[part.indices] == 0).any()
    changed = (part.images != truth.clean.images[part.indices]).flatten(1).any(1)
    assert changed.all() and (part.images[..., -2:, -2:] == 1).all()
