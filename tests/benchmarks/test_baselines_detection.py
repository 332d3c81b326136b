"""Baselines that look for backdoors: Neural Cleanse and STRIP."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from benchmarks.baselines.contract import NotApplicable
from benchmarks.baselines.neural_cleanse import CostSchedule, NeuralCleanseConfig, neural_cleanse
from benchmarks.baselines.strip import StripConfig, strip
from benchmarks.baselines.weight_statistics import LAST, LIPSCHITZ, weight_statistics
from rnp_core.metrics import auroc
from rnp_core.model import Normalization, SuspectModel
from tests.benchmarks.tiny import planted_defence
from tests.helpers.models import CLASSES, TARGET


def moved(*rounds: bool) -> CostSchedule:
    schedule = CostSchedule(NeuralCleanseConfig())
    for succeeded in rounds:
        schedule.update(succeeded)
    return schedule


def test_the_cost_starts_at_zero_and_is_set_after_five_successes_in_a_row() -> None:
    assert moved(*[True] * 4).value == 0
    assert moved(*[True] * 4, False, *[True] * 4).value == 0
    assert moved(*[True] * 5).value == pytest.approx(1e-3)


def test_the_cost_doubles_after_five_successes_and_falls_by_the_power_after_five_failures() -> None:
    risen = moved(*[True] * 9)
    assert risen.value == pytest.approx(2e-3) and not risen.moved_both_ways
    fallen = moved(*[True] * 9, *[False] * 5)
    assert fallen.value == pytest.approx(2e-3 / 2**1.5) and fallen.moved_both_ways


@pytest.fixture(scope="module")
def cleansed():
    config = NeuralCleanseConfig(rounds=150, batches_per_round=1, batch_size=32)
    return neural_cleanse(planted_defence(), config=config)["nc"]


def test_neural_cleanse_gives_every_label_a_trigger_and_the_target_the_smallest(cleansed) -> None:
    sizes = {label: trigger.size for label, trigger in cleansed.triggers.items()}
    assert sorted(sizes) == list(range(CLASSES))
    assert min(sizes, key=sizes.get) == TARGET
    assert cleansed.triggers[TARGET].flip_rate > 0.9
    assert cleansed.score > 0


def test_its_triggers_apply_as_their_mask_and_pattern_say(cleansed) -> None:
    trigger, images = cleansed.triggers[TARGET], planted_defence().clean.images
    mask, pattern = trigger.trigger_mask, trigger.trigger_pattern
    assert torch.allclose(trigger.apply(images), (1 - mask) * images + mask * pattern, atol=1e-5)
    assert trigger.size == pytest.approx(float(mask.sum()), rel=1e-4)


def test_neural_cleanse_accuses_only_with_an_outlier_below_the_median(cleansed) -> None:
    assert cleansed.verdict == ("backdoored" if cleansed.labels else "no_evidence")
    strict = NeuralCleanseConfig(rounds=2, batches_per_round=1, max_anomaly=1e9)
    outcome = neural_cleanse(planted_defence(), config=strict, name="strict")["strict"]
    assert outcome.labels == () and outcome.verdict == "no_evidence"


def test_strip_scores_triggered_images_higher() -> None:
    outcome = strip(planted_defence(), config=StripConfig(overlays=30))["strip"]
    truth = torch.arange(40) >= 20
    assert outcome.sample_scores is not None and outcome.sample_scores.shape == (40,)
    assert auroc(outcome.sample_scores.numpy(), truth.numpy()) > 0.8
    limit = outcome.notes["threshold"]
    assert torch.equal(outcome.sample_flags, -outcome.sample_scores < limit)


def test_strip_entropy_lies_between_none_and_that_of_even_shares() -> None:
    scores = strip(planted_defence(), config=StripConfig(overlays=3))["strip"].sample_scores
    assert scores is not None and scores.max() <= 1e-6 and scores.min() >= -2.0001  # log2 of 4


def test_strip_needs_suspects() -> None:
    with pytest.raises(NotApplicable, match="suspect"):
        strip(dataclasses.replace(planted_defence(), suspects=None))


def test_weights_alone_give_a_score_and_the_row_that_is_largest() -> None:
    defence = planted_defence()
    found = weight_statistics(defence)
    head = [m for m in defence.model.network.modules() if isinstance(m, nn.Linear)][-1]
    assert found[LAST].labels == (int(head.weight.mean(1).argmax()),)
    assert found[LAST].score is not None and found[LIPSCHITZ].score is not None
    assert found[LIPSCHITZ].score > 0


def test_weights_without_the_layers_say_nothing() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 2))
    model = SuspectModel(
        network, normalization=Normalization.none(3), num_classes=2, input_shape=(3, 12, 12)
    )
    with pytest.raises(NotApplicable, match="no last layer"):
        weight_statistics(dataclasses.replace(planted_defence(), model=model))
