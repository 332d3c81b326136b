"""Triage of suspect images: what the repaired model no longer believes.

A poisoned image owes its prediction to the backdoor, so the repaired model takes it back; a clean
image keeps its class in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rnp_core.data import DefenseSet, SuspectSet
from rnp_core.errors import ModelError
from rnp_core.metrics import clean_threshold, predict_probabilities
from rnp_core.model import SuspectModel


@dataclass(frozen=True, eq=False)
class SampleScores:
    """Suspicion of each suspect image.

    Attributes:
        predicted: ``(N,)`` class by the original model.
        predicted_repaired: ``(N,)`` class by the repaired model.
        suspicion_score: ``(N,)`` in [0, 1], higher is more suspicious.
        flagged: ``(N,)`` bool, score above ``threshold``.
        threshold: from clean images only; at most ``max_fpr`` of them score above it.
        max_fpr: share of clean images that may be flagged.
    """

    predicted: Tensor
    predicted_repaired: Tensor
    suspicion_score: Tensor
    flagged: Tensor
    threshold: float
    max_fpr: float


def score_samples(
    model: SuspectModel,
    repaired: SuspectModel,
    suspects: SuspectSet,
    clean: DefenseSet,
    *,
    max_fpr: float = 0.01,
    min_threshold: float = 0.05,
) -> SampleScores:
    """Score suspects by the probability of the predicted class that the repair took away.

    The score is ``p(c | x) - p_repaired(c | x)`` for the class ``c`` that the original model
    predicts, cut at 0.

    Args:
        clean: clean images that the repair was not fitted on; they set the threshold.
        max_fpr: share of clean images that may score above the threshold; [0, 1).
        min_threshold: a smaller difference is never flagged.

    Raises:
        ModelError: when one of the models gives NaN on an image, which would pass as unsuspicious.
        ValueError: when ``max_fpr`` is outside [0, 1).
    """
    model, repaired = model.copy(), repaired.copy()
    clean_scores, _, _ = _taken_back(model, repaired, clean.images)
    scores, predicted, predicted_repaired = _taken_back(model, repaired, suspects.images)
    threshold = max(min_threshold, clean_threshold(clean_scores.numpy(), max_fpr=max_fpr))
    return SampleScores(
        predicted=predicted,
        predicted_repaired=predicted_repaired,
        suspicion_score=scores,
        flagged=scores > threshold,
        threshold=threshold,
        max_fpr=max_fpr,
    )


def _taken_back(
    model: SuspectModel, repaired: SuspectModel, images: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    before = predict_probabilities(model, images)
    after = predict_probabilities(repaired, images)
    confidence, predicted = before.max(1)
    kept = after.gather(1, predicted[:, None]).squeeze(1)
    taken = confidence - kept
    if undefined := int(taken.isnan().sum()):
        raise ModelError(f"expected numbers from both models, got NaN on {undefined} image(s)")
    return taken.clamp(0, 1), predicted, torch.argmax(after, 1)
