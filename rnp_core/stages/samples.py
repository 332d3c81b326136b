"""Triage of suspect images: what the repaired model no longer believes.

A poisoned image owes its prediction to the backdoor, so it is predicted as a target label, and the
repaired model takes that back; a clean image keeps its class in both. Where nothing was repaired,
the unlearned model stands in: it has forgotten the clean images and not the backdoor (RNP, section
4.4), so that a poisoned image keeps its class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rnp_core.data import DefenseSet, SuspectSet
from rnp_core.errors import ConfigError, ModelError
from rnp_core.fold import fold_batch_norms
from rnp_core.metrics import clean_threshold, predict, predict_probabilities
from rnp_core.model import SuspectModel

COMPARED_MOST = 1000
"""Suspects that a model looks at where only people read its answers."""

Basis = Literal["repaired", "unlearned"]


@dataclass(frozen=True, eq=False)
class SampleScores:
    """Suspicion of each suspect image.

    Attributes:
        predicted: ``(N,)`` class by the original model.
        predicted_repaired: ``(N,)`` class by the repaired model, by the original without one; -1
            for images that are not predicted as a target label, beyond the first ones that make
            :data:`COMPARED_MOST` with those that are.
        predicted_unlearned: ``(N,)`` class by the unlearned model, -1 for images beyond the
            :data:`COMPARED_MOST` most suspicious where a repaired model gives the scores; None
            without an unlearned model.
        suspicion_score: ``(N,)`` in [0, 1], higher is more suspicious.
        flagged: ``(N,)`` bool, score above ``threshold``.
        threshold: from clean images only; at most ``max_fpr`` of them score above it.
        max_fpr: share of clean images that may be flagged.
        compared: suspects that may be flagged, as they are predicted as a target label.
        compared_fpr: share of clean images among those that may be flagged at most; ``max_fpr``
            where every label counts.
        basis: the model that the original was compared with.
        clean_scores: ``(M,)`` scores of the clean images, sorted.
    """

    predicted: Tensor
    predicted_repaired: Tensor
    predicted_unlearned: Tensor | None
    suspicion_score: Tensor
    flagged: Tensor
    threshold: float
    max_fpr: float
    compared: int
    compared_fpr: float
    basis: Basis
    clean_scores: Tensor


def score_samples(
    model: SuspectModel,
    repaired: SuspectModel | None,
    suspects: SuspectSet,
    clean: DefenseSet,
    *,
    labels: Sequence[int] = (),
    unlearned: SuspectModel | None = None,
    max_fpr: float = 0.01,
    min_threshold: float = 0.05,
) -> SampleScores:
    """Score suspects by the probability of the predicted class ``c`` in another model.

    With a repaired model the score is what the repair took away, ``p(c | x) - p_repaired(c | x)``
    cut at 0, and 0 where ``c`` is no target label. Without one it is what unlearning left,
    ``p_unlearned(c | x)``, which is weaker.

    Args:
        repaired: None when nothing was removed.
        labels: target labels of the backdoor that was removed; empty where any may be one. Without
            a repaired model they say nothing.
        clean: clean images that the repair was not fitted on; they set the threshold.
        unlearned: in eval mode with statistics of clean images, see
            :func:`rnp_core.stages.unlearn.with_clean_statistics`.
        max_fpr: share of clean images that may score above the threshold; [0, 1).
        min_threshold: a smaller score is never flagged.

    Raises:
        ConfigError: with neither a repaired nor an unlearned model.
        ModelError: when one of the models gives NaN on an image that it is asked about, which would
            pass as unsuspicious.
        ValueError: when ``max_fpr`` is outside [0, 1).
    """
    if repaired is None and unlearned is None:
        raise ConfigError("expected a repaired or an unlearned model to compare with, got neither")
    basis: Basis = "unlearned" if repaired is None else "repaired"
    other = unlearned if repaired is None else repaired
    assert other is not None
    model = fold_batch_norms(model, clean.images[:2])
    other = fold_batch_norms(other, clean.images[:2])
    if basis == "unlearned":
        labels = ()
    harmless = _compare(model, other, clean.images, basis, labels, least=0)
    found = _compare(model, other, suspects.images, basis, labels, least=COMPARED_MOST)
    scores, predicted = found.scores, found.predicted
    threshold = max(min_threshold, clean_threshold(harmless.scores.numpy(), max_fpr=max_fpr))
    allowed = max_fpr * len(clean) / max(1, harmless.owing)
    by_unlearned = None
    if basis == "unlearned":
        by_unlearned = found.by_other
    elif unlearned is not None:
        network = fold_batch_norms(unlearned, clean.images[:2])
        asked = scores.argsort(descending=True, stable=True)[:COMPARED_MOST]
        by_unlearned = torch.full_like(predicted, -1)
        by_unlearned[asked] = predict(network, suspects.images[asked])
    return SampleScores(
        predicted=predicted,
        predicted_repaired=predicted if repaired is None else found.by_other,
        predicted_unlearned=by_unlearned,
        suspicion_score=scores,
        flagged=scores > threshold,
        threshold=threshold,
        clean_scores=harmless.scores.sort().values,
        max_fpr=max_fpr,
        compared=found.owing,
        compared_fpr=min(1.0, allowed),
        basis=basis,
    )


@dataclass(frozen=True, eq=False)
class _Compared:
    """Score of each image, its class by the model, by the other one or -1 where that was not
    asked, and how many images may owe their class to the backdoor."""

    scores: Tensor
    predicted: Tensor
    by_other: Tensor
    owing: int


def _compare(
    model: SuspectModel,
    other: SuspectModel,
    images: Tensor,
    basis: Basis,
    labels: Sequence[int],
    *,
    least: int,
) -> _Compared:
    """Compare the images that are predicted as one of ``labels``, or all without any, and ask the
    other model about ``least`` images at least."""
    confidence, predicted = predict_probabilities(model, images).max(1)
    owing = torch.ones(len(images), dtype=torch.bool)
    if labels:
        owing = torch.isin(predicted, predicted.new_tensor(labels))
    room = max(0, least - int(owing.sum()))
    asked = torch.cat([torch.nonzero(owing), torch.nonzero(~owing)[:room]]).flatten().sort().values
    kept, by_other = torch.zeros_like(confidence), torch.full_like(predicted, -1)
    if len(asked):
        after = predict_probabilities(other, images, asked)
        kept[asked] = after.gather(1, predicted[asked, None]).squeeze(1)
        by_other[asked] = after.argmax(1)
    if undefined := int((confidence - kept).isnan().sum()):
        raise ModelError(f"expected numbers from both models, got NaN on {undefined} image(s)")
    scores = (kept if basis == "unlearned" else confidence - kept) * owing
    return _Compared(scores.clamp(0, 1), predicted, by_other, int(owing.sum()))
