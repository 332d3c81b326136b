"""How well the attack of a checkpoint's own poisoned images works, before and after."""

from __future__ import annotations

import dataclasses

import torch

from rnp_core.data import SuspectSet
from rnp_core.offered import evaluate_offered
from rnp_core.report import SampleRow
from tests.helpers.reports import example_report

IMAGES = torch.zeros(4, 3, 8, 8)
ROWS = [
    SampleRow(0, "0", 1, 0, 0.9, True),
    SampleRow(1, "1", 1, 1, 0.1, False),
    SampleRow(2, "2", 0, 0, 0.0, False),
    SampleRow(3, "3", 0, None, 0.0, False),
]


def test_images_that_the_repaired_model_was_not_asked_about_say_nothing() -> None:
    suspects = SuspectSet(IMAGES, ("0", "1", "2", "3"), torch.tensor([1, 1, 1, 1]))
    report = dataclasses.replace(example_report(), samples=ROWS)
    found = evaluate_offered(report, suspects, "bd_test_dataset")
    assert found is not None
    assert (found.evidence["count"], found.rule) == (3, "RNP006")
    assert found.evidence["before"] == 2 / 3
    assert found.evidence["after"] == 1 / 3


def test_images_without_labels_or_answers_say_nothing() -> None:
    report = dataclasses.replace(example_report(), samples=ROWS)
    assert evaluate_offered(report, SuspectSet(IMAGES, ("0", "1", "2", "3")), "x") is None
    labelled = SuspectSet(IMAGES, ("0", "1", "2", "3"), torch.ones(4, dtype=torch.int64))
    empty = dataclasses.replace(report, samples=[])
    assert evaluate_offered(empty, labelled, "x") is None
