"""Triage of suspects on the planted model, where the answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rnp_core.data import SuspectSet
from rnp_core.errors import ConfigError, ModelError
from rnp_core.stages import samples
from rnp_core.stages.filter_mask import prune_filters
from rnp_core.stages.samples import score_samples
from tests.helpers.models import (
    CORNER_TRIGGER,
    TARGET,
    QuadrantNet,
    planted_filter,
    planted_model,
    suspect,
)
from tests.helpers.sets import quadrant_set

CLEAN = quadrant_set(10)
OTHERS = quadrant_set(5, seed=1)
MODEL = planted_model()
REPAIRED = prune_filters(MODEL, planted_filter())


def suspects() -> SuspectSet:
    """Clean images, then triggered ones of other classes."""
    wanted = OTHERS.labels != TARGET
    images = torch.cat([OTHERS.images, CORNER_TRIGGER.apply(OTHERS.images[wanted])])
    return SuspectSet(images, tuple(map(str, range(len(images)))))


def test_triggered_images_are_flagged_and_clean_ones_are_not() -> None:
    found = score_samples(MODEL, REPAIRED, suspects(), CLEAN)
    poisoned = torch.arange(len(found.flagged)) >= len(OTHERS)
    assert torch.equal(found.flagged, poisoned)
    assert (found.predicted[poisoned] == TARGET).all()
    assert (found.predicted_repaired[poisoned] != TARGET).all()
    assert ((found.suspicion_score >= 0) & (found.suspicion_score <= 1)).all()


def test_a_model_without_a_repair_flags_nothing() -> None:
    found = score_samples(MODEL, MODEL, suspects(), CLEAN)
    assert not found.flagged.any()
    assert (found.suspicion_score == 0).all()
    assert found.threshold == 0.05


def test_the_threshold_comes_from_clean_images() -> None:
    triggered = CORNER_TRIGGER.apply(CLEAN.images)
    mixed = type(CLEAN)(torch.cat([CLEAN.images, triggered]), CLEAN.labels.repeat(2))
    found = score_samples(MODEL, REPAIRED, suspects(), mixed, max_fpr=0.01)
    assert found.threshold > 0.5  # half of the images that set it react
    assert (found.clean_scores > found.threshold).float().mean() <= found.max_fpr


def test_the_score_is_the_probability_that_was_taken_back() -> None:
    class Fixed(nn.Module):
        """Answers every image with the same probabilities."""

        def __init__(self, *probabilities: float) -> None:
            super().__init__()
            self.register_buffer("logits", torch.tensor([probabilities]).log())

        def forward(self, images: Tensor) -> Tensor:
            return self.logits.expand(len(images), -1)

    before, after = suspect(Fixed(0.7, 0.1, 0.1, 0.1)), suspect(Fixed(0.2, 0.4, 0.3, 0.1))
    found = score_samples(before, after, suspects(), CLEAN)
    torch.testing.assert_close(found.suspicion_score, torch.full((len(suspects()),), 0.5))
    assert (found.predicted == 0).all() and (found.predicted_repaired == 1).all()
    assert found.threshold == pytest.approx(0.5)  # the clean images score the same,
    assert not found.flagged.any()  # and a tie is not above
    gained = score_samples(after, suspect(Fixed(0.1, 0.7, 0.1, 0.1)), suspects(), CLEAN)
    assert (gained.suspicion_score == 0).all()  # more confidence is no suspicion


def test_no_more_clean_images_than_allowed_score_above_the_threshold() -> None:
    triggered = CORNER_TRIGGER.apply(CLEAN.images)
    mixed = type(CLEAN)(torch.cat([CLEAN.images, triggered]), CLEAN.labels.repeat(2))
    for max_fpr in (0.0, 0.1, 0.3):
        found = score_samples(
            MODEL, REPAIRED, SuspectSet(mixed.images, ("",) * len(mixed)), mixed, max_fpr=max_fpr
        )
        assert found.max_fpr == max_fpr
        assert found.flagged.float().mean() <= max_fpr


def test_images_on_which_a_model_gives_nan_do_not_pass() -> None:
    class Faint(QuadrantNet):
        """Gives NaN on images with the trigger."""

        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            return torch.where((images.amax((1, 2, 3)) == 1)[:, None], torch.nan, logits)

    marked = int((suspects().images.amax((1, 2, 3)) == 1).sum())
    with pytest.raises(ModelError, match=rf"got NaN on {marked} image\(s\)"):
        score_samples(suspect(Faint()), REPAIRED, suspects(), CLEAN)


def test_an_impossible_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="0 <= max_fpr < 1"):
        score_samples(MODEL, REPAIRED, suspects(), CLEAN, max_fpr=1.0)


def test_without_a_repaired_model_the_unlearned_one_stands_in() -> None:
    found = score_samples(MODEL, None, suspects(), CLEAN, unlearned=REPAIRED)
    assert found.basis == "unlearned"
    assert torch.equal(found.predicted, found.predicted_repaired)
    assert found.predicted_unlearned is not None
    taken = score_samples(MODEL, REPAIRED, suspects(), CLEAN).suspicion_score
    assert bool(((found.suspicion_score + taken) <= 1 + 1e-6).all())


def test_the_unlearned_model_looks_at_the_most_suspicious_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(samples, "COMPARED_MOST", 5)
    found = score_samples(MODEL, REPAIRED, suspects(), CLEAN, unlearned=REPAIRED)
    assert found.predicted_unlearned is not None
    asked = found.predicted_unlearned >= 0
    assert int(asked.sum()) == 5
    assert found.suspicion_score[asked].min() >= found.suspicion_score[~asked].max()
    assert torch.equal(found.predicted_unlearned[asked], found.predicted_repaired[asked])
    alone = score_samples(MODEL, None, suspects(), CLEAN, unlearned=REPAIRED)
    assert alone.predicted_unlearned is not None and bool((alone.predicted_unlearned >= 0).all())


def test_something_to_compare_with_is_needed() -> None:
    with pytest.raises(ConfigError, match="got neither"):
        score_samples(MODEL, None, suspects(), CLEAN)


def test_only_images_predicted_as_a_target_label_owe_it_to_the_backdoor() -> None:
    both = score_samples(MODEL, REPAIRED, suspects(), CLEAN, labels=[TARGET])
    assert torch.equal(both.flagged, torch.arange(len(both.flagged)) >= len(OTHERS))
    other = score_samples(MODEL, REPAIRED, suspects(), CLEAN, labels=[TARGET - 1])
    assert not other.suspicion_score[other.predicted == TARGET].any()


def test_a_target_label_does_not_hide_other_images_from_the_unlearned_model() -> None:
    found = score_samples(MODEL, None, suspects(), CLEAN, labels=[TARGET], unlearned=REPAIRED)
    alone = score_samples(MODEL, None, suspects(), CLEAN, unlearned=REPAIRED)
    assert torch.equal(found.suspicion_score, alone.suspicion_score)


@pytest.mark.parametrize("most", [0, 1, 12, 1000])
def test_the_repaired_model_is_asked_about_target_labels_first(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(samples, "COMPARED_MOST", most)
    found = score_samples(MODEL, REPAIRED, suspects(), CLEAN, labels=[TARGET])
    asked = found.predicted_repaired >= 0
    owing = found.predicted == TARGET
    assert bool(asked[owing].all())
    assert int(asked.sum()) == max(int(owing.sum()), min(most, len(owing)))


def test_nan_of_the_original_does_not_pass_where_the_repaired_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Faint(QuadrantNet):
        """Gives NaN on images without the trigger."""

        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            return torch.where((images.amax((1, 2, 3)) < 1)[:, None], torch.nan, logits)

    monkeypatch.setattr(samples, "COMPARED_MOST", 0)
    with pytest.raises(ModelError, match="got NaN on"):
        score_samples(suspect(Faint()), REPAIRED, suspects(), CLEAN, labels=[TARGET - 1])


def test_what_may_be_flagged_is_counted_among_the_images_that_count() -> None:
    every = score_samples(MODEL, REPAIRED, suspects(), CLEAN)
    assert (every.compared, every.compared_fpr) == (len(suspects()), every.max_fpr)
    some = score_samples(MODEL, REPAIRED, suspects(), CLEAN, labels=[TARGET])
    clean_share = (CLEAN.labels == TARGET).float().mean()
    assert some.compared == int((some.predicted == TARGET).sum())
    assert some.compared_fpr == pytest.approx(some.max_fpr / float(clean_share))
