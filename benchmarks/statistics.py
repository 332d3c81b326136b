"""Estimates with 95 % intervals over models.

The unit is a model: several seeds of one model are averaged first, because they are not
independent. Every function takes one value per model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rnp_core.metrics import auroc, wilson_interval

RESAMPLES = 4000
"""Bootstrap samples."""


class Estimate(NamedTuple):
    """A value, its 95 % interval and the number of models behind it."""

    value: float
    low: float
    high: float
    n: int


def rate(values: Sequence[float]) -> Estimate | None:
    """Mean of shares in [0, 1], one per model, with a Wilson interval (Wilson, 1927).

    Made for yes or no, one answer per model; with several seeds per model the shares between count
    as fractions of an answer. None without values.
    """
    if not values:
        return None
    total = float(sum(values))
    low, high = wilson_interval(total, len(values))  # type: ignore[arg-type]  # fractions are fine
    return Estimate(total / len(values), low, high, len(values))


def mean(values: Sequence[float], *, seed: int = 0) -> Estimate | None:
    """Mean with a percentile bootstrap interval over models (Efron, 1979); None without values."""
    if not values:
        return None
    data = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(len(data), size=(RESAMPLES, len(data)))
    low, high = np.percentile(data[drawn].mean(axis=1), [2.5, 97.5])
    return Estimate(float(data.mean()), float(low), float(high), len(data))


def area_under_curve(positives: Sequence[float], negatives: Sequence[float]) -> Estimate | None:
    """Area under the ROC curve with the interval of Newcombe (2006, part 2, method 5).

    That interval keeps its width where the scores separate perfectly, which is where the targets
    lie; DeLong's and the bootstrap shrink to a point there. None when one side is missing.

    Args:
        positives, negatives: scores of backdoored and of clean models, higher is more suspicious.
    """
    if not positives or not negatives:
        return None
    scores = np.array([*positives, *negatives], dtype=np.float64)
    area = auroc(scores, np.arange(len(scores)) < len(positives))
    low, high = _newcombe(area, len(positives), len(negatives))
    return Estimate(area, low, high, len(scores))


def _newcombe(area: float, positives: int, negatives: int) -> tuple[float, float]:
    """Values of the true area whose own standard error just reaches ``area``."""
    z = 1.96  # normal quantile of 95 %
    half = (positives + negatives) / 2 - 1

    def excess(true: float) -> float:
        spread = 1 + half * ((1 - true) / (2 - true) + true / (1 + true))
        variance = true * (1 - true) * spread / (positives * negatives)
        return abs(area - true) - z * math.sqrt(max(0.0, variance))

    def boundary(inside: float, outside: float) -> float:
        if excess(outside) <= 0:
            return outside
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if excess(middle) > 0 else (middle, outside)
        return inside

    return boundary(area, 0.0), boundary(area, 1.0)


def paired_difference(
    ours: Mapping[str, float], theirs: Mapping[str, float], *, seed: int = 0
) -> Estimate | None:
    """Mean of ours minus theirs over the models that both have, with a bootstrap interval.

    Args:
        ours, theirs: value by name of the model.
    """
    return mean([ours[name] - theirs[name] for name in ours if name in theirs], seed=seed)


def area_difference(
    ours: Mapping[str, float],
    theirs: Mapping[str, float],
    backdoored: Mapping[str, bool],
    *,
    seed: int = 0,
) -> Estimate | None:
    """Difference of the areas under the ROC curve on the models that both have.

    The interval resamples backdoored and clean models apart, the same ones for both methods.

    Args:
        ours, theirs: score by name of the model.
        backdoored: the truth by name.
    """
    names = [name for name in ours if name in theirs]
    scores = np.array([[by[name] for name in names] for by in (ours, theirs)])
    truth = np.array([backdoored[name] for name in names], dtype=bool)
    positives, negatives = np.flatnonzero(truth), np.flatnonzero(~truth)
    if not len(positives) or not len(negatives):
        return None

    def difference(rows: np.ndarray) -> float:
        areas = [auroc(column[rows], truth[rows]) for column in scores]
        return areas[0] - areas[1]

    random = np.random.default_rng(seed)
    samples = [
        difference(np.concatenate([random.choice(p, len(p)) for p in (positives, negatives)]))
        for _ in range(RESAMPLES // 4)
    ]
    low, high = np.percentile(samples, [2.5, 97.5])
    return Estimate(difference(np.arange(len(names))), float(low), float(high), len(names))
