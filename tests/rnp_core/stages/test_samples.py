"""Triage of suspects on the planted model, where the answer is known."""

from __future__ import annotations

import torch

from rnp_core.data import SuspectSet
from rnp_core.stages.filter_mask import prune_filters
from rnp_core.stages.samples import score_samples
from tests.helpers.models import CORNER_TRIGGER, TARGET, planted_filter, planted_model
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
