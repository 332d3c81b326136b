"""Estimates and their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.statistics import area_difference, area_under_curve, mean, paired_difference, rate
from rnp_core.metrics import wilson_interval


def test_a_rate_has_the_wilson_interval() -> None:
    found = rate([1.0] * 19 + [0.0])
    assert found is not None and found.value == pytest.approx(0.95) and found.n == 20
    assert (found.low, found.high) == wilson_interval(19, 20)


def test_nothing_measured_gives_no_estimate() -> None:
    assert rate([]) is None and mean([]) is None
    assert area_under_curve([1.0], []) is None and area_under_curve([], [1.0]) is None
    assert paired_difference({"a": 1.0}, {"b": 1.0}) is None
    assert area_difference({"a": 1.0}, {"a": 1.0}, {"a": True}) is None


def test_a_mean_lies_in_its_interval_which_shrinks_with_more_models() -> None:
    values = np.random.default_rng(0).normal(size=400).tolist()
    few, many = mean(values[:20]), mean(values)
    assert few is not None and many is not None
    assert few.low < few.value < few.high and many.low < many.value < many.high
    assert many.high - many.low < few.high - few.low
    expected = 2 * 1.96 * np.std(values) / np.sqrt(400)
    assert many.high - many.low == pytest.approx(expected, rel=0.15)


def test_perfect_separation_keeps_an_interval() -> None:
    few, many = area_under_curve([2.0] * 7, [1.0] * 5), area_under_curve([2.0] * 70, [1.0] * 50)
    assert few is not None and many is not None
    assert few.value == many.value == 1.0 and few.high == 1.0
    assert 0.6 < few.low < many.low < 1.0
    assert few.n == 12


def test_an_area_between_has_the_width_of_a_bootstrap() -> None:
    random = np.random.default_rng(1)
    positives, negatives = random.normal(1, 1, 60), random.normal(0, 1, 60)
    found = area_under_curve(positives.tolist(), negatives.tolist())
    assert found is not None
    areas = [
        np.mean(random.choice(positives, 60)[:, None] > random.choice(negatives, 60)[None])
        for _ in range(500)
    ]
    low, high = np.percentile(areas, [2.5, 97.5])
    assert found.low == pytest.approx(low, abs=0.03) and found.high == pytest.approx(high, abs=0.03)


def test_chance_and_reversed_scores() -> None:
    level, reversed_ = area_under_curve([1.0] * 9, [1.0] * 9), area_under_curve([0.0], [1.0])
    assert level is not None and level.value == 0.5 and level.low < 0.5 < level.high
    assert reversed_ is not None and reversed_.value == 0.0 and reversed_.low == 0.0


def test_differences_are_taken_on_the_models_that_both_have() -> None:
    found = paired_difference({"a": 0.5, "b": 0.7, "c": 0.0}, {"a": 0.4, "b": 0.6, "d": 1.0})
    assert found is not None and found.n == 2 and found.value == pytest.approx(0.1)
    assert found.low == pytest.approx(0.1) and found.high == pytest.approx(0.1)


def test_the_better_area_has_a_positive_difference() -> None:
    names = [f"m{i}" for i in range(20)]
    truth = {name: i < 10 for i, name in enumerate(names)}
    perfect = {name: float(truth[name]) for name in names}
    useless = dict.fromkeys(names, 0.0)
    found = area_difference(perfect, useless, truth)
    assert found is not None and found.value == found.low == found.high == 0.5
    reverse = area_difference(useless, perfect, truth)
    assert reverse is not None and reverse.value == -0.5
