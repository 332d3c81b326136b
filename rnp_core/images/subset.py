"""A small class-balanced part of many images, chosen before they are decoded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def balanced_subset(labels: Indices, count: int, *, seed: int) -> Indices:
    """Indices of at most ``count`` images, as many of each class as it has and the rest allows.

    Class counts differ by at most one, except where a class has too few images; when ``count`` does
    not divide evenly, lower class indices come first.

    Args:
        labels: ``(N,)`` class indices.
        count: images wanted; all indices are returned when there are no more than that.
        seed: decides which images of a class are taken.

    Returns:
        Ascending indices into ``labels``.
    """
    if len(labels) <= count:
        return np.arange(len(labels))
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    ordered = labels[by_class]
    starts = np.searchsorted(ordered, ordered)  # first position of each image's class
    turn = np.arange(len(labels)) - starts  # place of each image within its class
    chosen = by_class[np.lexsort((ordered, turn))[:count]]
    return np.sort(chosen)
