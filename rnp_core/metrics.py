"""Metrics as pure functions, and the two ways to run a model that they need."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from rnp_core.data import DefenseSet
from rnp_core.model import SuspectModel
from rnp_core.parts import Parts, images_at_once

_AT_ONCE = 256  # images


@torch.no_grad()
def predict_probabilities(
    model: SuspectModel, images: Tensor, rows: Tensor | None = None
) -> Tensor:
    """Class probabilities ``(N, K)`` in [0, 1] of ``images`` ``(N, C, H, W)``, on the CPU.

    Args:
        rows: ``(M,)`` indices of the images that are asked for, which gives ``(M, K)``; they are
            copied part by part. All by default.
    """

    def look(part: slice) -> Tensor:
        shown = images[part] if rows is None else images[rows[part]]
        return model(shown).float().softmax(1).cpu()

    parts = Parts(images_at_once(model, _AT_ONCE))
    return torch.cat(parts.run(look, len(images) if rows is None else len(rows)))


@torch.no_grad()
def predict(model: SuspectModel, images: Tensor) -> Tensor:
    """Predicted class ``(N,)`` int64 of ``images`` ``(N, C, H, W)``, on the CPU."""
    parts = Parts(images_at_once(model, _AT_ONCE))
    return torch.cat(parts.run(lambda part: model(images[part]).argmax(1).cpu(), len(images)))


def clean_accuracy(model: SuspectModel, defense_set: DefenseSet) -> float:
    """Share of clean images predicted as their label, over all classes; [0, 1]."""
    return float((predict(model, defense_set.images) == defense_set.labels).float().mean())


@torch.no_grad()
def clean_loss(model: SuspectModel, defense_set: DefenseSet) -> float:
    """Mean cross-entropy of the labels of the clean images in nats, each image at most 2 ln K.

    That is twice what a guess among the K outputs costs, so that a few wrong labels do not speak
    for whoever is least sure. A label without an output, and NaN, cost as much.
    """
    images, labels = defense_set.images, defense_set.labels.unsqueeze(1)

    def look(part: slice) -> Tensor:
        logs = model(images[part]).double().log_softmax(1).cpu()
        known = labels[part] < logs.shape[1]
        losses = -logs.gather(1, labels[part].where(known, 0))
        most = 2 * math.log(logs.shape[1])
        return losses.where(known, most).nan_to_num(most).clamp(0, most)

    losses = Parts(images_at_once(model, _AT_ONCE)).run(look, len(images))
    return float(torch.cat(losses).mean())


def above_chance(share: float, classes: int) -> float:
    """The accuracy that lies ``share`` of the way from guessing among ``classes`` to 1; [0, 1]."""
    return 1 / classes + share * (1 - 1 / classes)


def wilson_interval(successes: int, count: int, *, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of a share (E. B. Wilson, 1927); (0, 1) when ``count`` is 0.

    Args:
        z: normal quantile, 1.96 for 95 %.
    """
    if count == 0:
        return 0.0, 1.0
    share = successes / count
    denominator = 1 + z * z / count
    centre = (share + z * z / (2 * count)) / denominator
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / denominator
    return max(0.0, centre - half), min(1.0, centre + half)


def anomaly_index(sizes: np.ndarray) -> np.ndarray:
    """Median-absolute-deviation outlier score of each value (Neural Cleanse, section 4.3).

    Args:
        sizes: ``(K,)`` trigger sizes; NaN entries are ignored and give NaN.

    Returns:
        ``(K,)`` values ``(median - size) / (1.4826 * MAD)``, positive for sizes below the median.
        When the MAD is 0, sizes at the median give 0 and others plus or minus infinity.
    """
    sizes = np.asarray(sizes, dtype=np.float64)
    median = np.nanmedian(sizes)
    deviation = median - sizes
    mad = 1.4826 * np.nanmedian(np.abs(deviation))
    if mad == 0:
        return np.sign(deviation) * np.where(deviation == 0, 0.0, np.inf)
    return deviation / mad


def auroc(scores: np.ndarray, is_positive: np.ndarray) -> float:
    """Area under the ROC curve: chance that a positive scores above a negative, ties count half.

    Args:
        scores: ``(N,)``, higher is more suspicious.
        is_positive: ``(N,)`` bool.

    Returns:
        [0, 1]; 0.5 is chance; NaN when one of the classes is absent.

    Raises:
        ValueError: for a NaN score, which has no rank.
    """
    scores, is_positive = np.asarray(scores, dtype=np.float64), np.asarray(is_positive, dtype=bool)
    _check_scores(scores)
    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    if positives == 0 or negatives == 0:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = mean_rank[inverse][is_positive].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def clean_threshold(clean_scores: np.ndarray, *, max_fpr: float) -> float:
    """The smallest clean score that at most ``max_fpr`` of the clean scores exceed.

    A score is flagged when it is **above** the threshold. No interpolation.

    Raises:
        ValueError: when there are no clean scores, one of them is NaN, or ``max_fpr`` is outside
            [0, 1).
    """
    ordered = np.sort(np.asarray(clean_scores, dtype=np.float64))
    count = len(ordered)
    if count == 0 or not 0 <= max_fpr < 1:
        raise ValueError(f"expected scores and 0 <= max_fpr < 1, got {count} and {max_fpr}")
    _check_scores(ordered)
    shares = np.arange(count) / count  # as a caller writes them: 0.29 * 100 would be 28.999...
    allowed = int(np.searchsorted(shares, max_fpr, side="right")) - 1
    return float(ordered[count - 1 - allowed])


def tpr_at_fpr(scores: np.ndarray, is_positive: np.ndarray, *, max_fpr: float = 0.01) -> float:
    """Share of positives above the threshold that the negatives' scores set; [0, 1].

    NaN when one of the classes is absent.

    Raises:
        ValueError: for a NaN score or ``max_fpr`` outside [0, 1).
    """
    scores, is_positive = np.asarray(scores, dtype=np.float64), np.asarray(is_positive, dtype=bool)
    _check_scores(scores)
    if is_positive.all() or not is_positive.any():
        return float("nan")
    threshold = clean_threshold(scores[~is_positive], max_fpr=max_fpr)
    return float((scores[is_positive] > threshold).mean())


def _check_scores(scores: np.ndarray) -> None:
    if undefined := int(np.isnan(scores).sum()):
        count = len(scores)
        raise ValueError(f"expected scores that can be ranked, got NaN in {undefined} of {count}")
