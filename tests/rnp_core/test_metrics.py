"""Closed forms of every metric, and agreement with scikit-learn."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch.nn.functional import cross_entropy

from rnp_core.data import DefenseSet
from rnp_core.metrics import (
    anomaly_index,
    auroc,
    clean_accuracy,
    clean_loss,
    clean_threshold,
    predict,
    predict_probabilities,
    tpr_at_fpr,
    wilson_interval,
)
from tests.helpers.models import planted_model
from tests.helpers.sets import quadrant_set

SET = quadrant_set(5)

# Running a model


def test_predictions_do_not_depend_on_the_batch_size() -> None:
    model = planted_model()
    probabilities = predict_probabilities(model, SET.images)
    assert probabilities.shape == (20, 4)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(20))
    torch.testing.assert_close(
        predict_probabilities(model, SET.images), probabilities
    )
    assert torch.equal(predict(model, SET.images), SET.labels)
    assert torch.equal(probabilities.argmax(1), SET.labels)
    assert not probabilities.requires_grad


def test_probabilities_of_chosen_images_are_those_of_all() -> None:
    model, rows = planted_model(), torch.tensor([5, 0, 3])
    found = predict_probabilities(model, SET.images, rows)
    torch.testing.assert_close(found, predict_probabilities(model, SET.images)[rows])


def test_clean_accuracy_counts_all_classes() -> None:
    wrong = SET.labels.clone()
    wrong[:5] = (wrong[:5] + 1) % 4
    assert clean_accuracy(planted_model(), SET) == 1.0
    assert clean_accuracy(planted_model(), DefenseSet(SET.images, wrong)) == 0.75


def test_clean_loss_is_the_cross_entropy_and_never_more_than_twice_a_guess() -> None:
    model = planted_model()
    most = 2 * math.log(4)
    exact = cross_entropy(model(SET.images), SET.labels, reduction="none").clamp(max=most)
    assert clean_loss(model, SET) == pytest.approx(exact.mean().item(), abs=1e-6)
    wrong = DefenseSet(SET.images, (SET.labels + 1) % 4)
    costs = cross_entropy(model(wrong.images), wrong.labels, reduction="none").clamp(max=most)
    assert clean_loss(model, wrong) == pytest.approx(costs.mean().item(), abs=1e-6)
    unknown = DefenseSet(SET.images, torch.full_like(SET.labels, 4))
    assert clean_loss(model, unknown) == pytest.approx(2 * math.log(4))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_clean_loss_of_outputs_that_are_no_numbers_is_the_largest(value: float) -> None:
    model = planted_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    assert clean_loss(model, SET) == pytest.approx(2 * math.log(4))


# Wilson interval


def test_wilson_interval_of_known_values() -> None:
    # z = 2: centre (k + 2) / (n + 4), half-width 2 sqrt(k (n - k) / n + 1) / (n + 4)
    low, high = wilson_interval(5, 10, z=2)
    assert (low, high) == pytest.approx((0.5 - math.sqrt(3.5) / 7, 0.5 + math.sqrt(3.5) / 7))
    # Newcombe (1998), table I: 81 of 263 and 15 of 148
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)


def test_wilson_interval_at_the_ends() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 1.96**2 / (20 + 1.96**2)))
    assert wilson_interval(20, 20) == pytest.approx((20 / (20 + 1.96**2), 1.0))


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_share(case: tuple[int, int]) -> None:
    successes, count = case
    low, high = wilson_interval(successes, count)
    assert 0 <= low <= successes / count + 1e-12
    assert successes / count - 1e-12 <= high <= 1


# Anomaly index


def test_anomaly_index_of_the_example() -> None:
    # median 10, absolute deviations 9, 0, 0, 1, 1 with median 1
    index = anomaly_index(np.array([1, 10, 10, 11, 9]))
    assert index == pytest.approx(np.array([9, 0, 0, -1, 1]) / 1.4826)
    assert index[0] == pytest.approx(6.07, abs=5e-3)


def test_anomaly_index_ignores_missing_sizes() -> None:
    index = anomaly_index(np.array([1, np.nan, 10, 10, 11, 9]))
    assert np.isnan(index[1])
    assert np.delete(index, 1) == pytest.approx(anomaly_index(np.array([1, 10, 10, 11, 9])))


def test_anomaly_index_without_spread() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index = anomaly_index(np.array([5.0, 5.0, 5.0, 1.0, 9.0, np.nan]))
    assert index[:5].tolist() == [0.0, 0.0, 0.0, np.inf, -np.inf]
    assert np.isnan(index[5])


@given(
    st.lists(st.integers(0, 1000), min_size=3, max_size=20),
    st.integers(1, 50),
    st.integers(-100, 100),
)
def test_anomaly_index_has_no_unit(sizes: list[int], scale: int, shift: int) -> None:
    values = np.array(sizes, dtype=float)
    np.testing.assert_allclose(
        anomaly_index(scale * values + shift), anomaly_index(values), atol=1e-9
    )


# Ranking


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([1, 2, 3, 4], 1.0), ([4, 3, 2, 1], 0.0), ([7, 7, 7, 7], 0.5), ([1, 2, 2, 3], 0.875)],
)
def test_auroc_of_known_rankings(scores: list[float], expected: float) -> None:
    assert auroc(np.array(scores), np.array([False, False, True, True])) == expected


@pytest.mark.parametrize("positive", [True, False])
def test_ranking_needs_both_classes(positive: bool) -> None:
    scores, is_positive = np.arange(3.0), np.full(3, positive)
    assert math.isnan(auroc(scores, is_positive))
    assert math.isnan(tpr_at_fpr(scores, is_positive))


@pytest.mark.parametrize("levels", [3, 20, 10**6])
def test_auroc_agrees_with_scikit_learn(levels: int) -> None:
    rng = np.random.default_rng(levels)
    for _ in range(20):
        is_positive = rng.random(50) < 0.3
        is_positive[:2] = True, False
        scores = rng.integers(0, levels, 50) + is_positive * levels // 4
        assert auroc(scores, is_positive) == pytest.approx(roc_auc_score(is_positive, scores))


@pytest.mark.parametrize(
    ("scores", "max_fpr", "expected"),
    [
        ([3, 1, 4, 2], 0.0, 4),
        ([3, 1, 4, 2], 0.25, 3),
        ([3, 1, 4, 2], 0.49, 3),
        ([3, 1, 4, 2], 0.5, 2),
        ([3, 1, 4, 2], 0.99, 1),
        ([1, 2, 2], 0.34, 2),
        ([1, 1, 2], 0.34, 1),
        ([5, 5, 5, 5], 0.5, 5),
        ([8], 0.5, 8),
    ],
)
def test_clean_threshold(scores: list[float], max_fpr: float, expected: float) -> None:
    assert clean_threshold(np.array(scores), max_fpr=max_fpr) == expected


@pytest.mark.parametrize(("max_fpr", "expected"), [(0.28, 71), (0.29, 70), (0.57, 42), (0.58, 41)])
def test_clean_threshold_counts_shares_as_they_are_written(max_fpr: float, expected: int) -> None:
    # 0.29 * 100 is 28.999..., yet 29 of 100 scores may lie above the threshold
    assert clean_threshold(np.arange(100), max_fpr=max_fpr) == expected


@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=32),
    st.one_of(
        st.integers(0, 99).map(lambda n: n / 100),
        st.integers(1, 32).map(lambda n: 1 / (n + 1)),
        st.floats(0, 1, exclude_max=True),
    ),
)
def test_clean_threshold_is_the_smallest_that_keeps_the_rate(
    scores: list[int], max_fpr: float
) -> None:
    values = np.array(scores, dtype=float)
    threshold = clean_threshold(values, max_fpr=max_fpr)
    assert threshold == min(t for t in values if (values > t).mean() <= max_fpr)


@pytest.mark.parametrize(("count", "max_fpr"), [(0, 0.1), (3, 1.0), (3, -0.1), (3, math.nan)])
def test_clean_threshold_of_nothing_or_everything_is_refused(count: int, max_fpr: float) -> None:
    with pytest.raises(ValueError, match="expected scores and 0 <= max_fpr < 1, got"):
        clean_threshold(np.arange(count), max_fpr=max_fpr)


def test_a_score_that_is_not_a_number_is_refused() -> None:
    scores, is_positive = np.array([1.0, math.nan, 2.0]), np.array([False, True, True])
    message = "expected scores that can be ranked, got NaN in 1 of 3"
    with pytest.raises(ValueError, match=message):
        clean_threshold(scores, max_fpr=0.5)
    with pytest.raises(ValueError, match=message):
        auroc(scores, is_positive)
    with pytest.raises(ValueError, match=message):
        tpr_at_fpr(scores, is_positive)


def test_infinite_scores_have_a_rank() -> None:
    scores = np.array([-math.inf, 0.0, math.inf, 1.0])
    assert clean_threshold(scores, max_fpr=0.25) == 1.0
    assert auroc(scores, np.array([False, False, True, True])) == 1.0


@pytest.mark.parametrize(
    ("clean", "poisoned", "max_fpr", "expected"),
    [
        ([0, 1, 2, 3], [4, 5], 0.0, 1.0),
        ([0, 1, 2, 3], [3, 4], 0.0, 0.5),  # a tie with the threshold is not flagged
        ([0, 1, 2, 3], [2, 3], 0.25, 0.5),
        ([1, 1, 1, 1], [1, 1], 0.5, 0.0),
        ([4, 5], [0, 1], 0.5, 0.0),
    ],
)
def test_true_positive_rate(
    clean: list[float], poisoned: list[float], max_fpr: float, expected: float
) -> None:
    scores = np.array([*poisoned, *clean])
    is_positive = np.arange(len(scores)) < len(poisoned)
    assert tpr_at_fpr(scores, is_positive, max_fpr=max_fpr) == expected
