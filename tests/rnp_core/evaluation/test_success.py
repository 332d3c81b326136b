"""Attack success and robust accuracy of a classifier whose answers are known on paper."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from rnp_core.evaluation.success import attack_success_rate, robust_accuracy
from rnp_core.evaluation.triggers import PatchTrigger
from rnp_core.model import Normalization, SuspectModel

TARGET = 2
TRIGGER = PatchTrigger(3, 3, torch.ones(1, 1))


class _ReadsPixels(nn.Module):
    """Predicts the brightest of the first three pixels; a lit last pixel adds 0.5 to the target."""

    def forward(self, images: Tensor) -> Tensor:
        logits = images[:, 0, 0, :3].clone()
        logits[:, TARGET] += 0.5 * images[:, 0, 3, 3]
        return logits


def _model() -> SuspectModel:
    return SuspectModel(
        _ReadsPixels(), normalization=Normalization.none(1), num_classes=3, input_shape=(1, 4, 4)
    )


def _set(*rows: tuple[int, float]) -> tuple[Tensor, Tensor]:
    """Images of class ``label`` at the given brightness: 0.5 flips below it, not above it."""
    images, labels = torch.zeros(len(rows), 1, 4, 4), torch.tensor([label for label, _ in rows])
    for index, (label, brightness) in enumerate(rows):
        images[index, 0, 0, label] = brightness
    return images, labels


def test_counts_images_of_other_classes_only() -> None:
    images, labels = _set((0, 0.4), (0, 0.9), (1, 0.3), (1, 0.2), (TARGET, 0.4), (TARGET, 0.9))
    assert attack_success_rate(_model(), images, labels, TRIGGER, TARGET) == 0.75
    assert robust_accuracy(_model(), images, labels, TRIGGER, TARGET) == 0.25


def test_a_wrong_answer_that_is_not_the_target_is_neither() -> None:
    images, labels = _set((0, 0.9), (0, 0.3))
    labels[0] = 1  # predicted as 0
    assert attack_success_rate(_model(), images, labels, TRIGGER, TARGET) == 0.5
    assert robust_accuracy(_model(), images, labels, TRIGGER, TARGET) == 0.0


@pytest.mark.parametrize("measure", [attack_success_rate, robust_accuracy])
def test_nothing_to_count_is_not_a_number(measure) -> None:
    images, labels = _set((TARGET, 0.4))
    assert math.isnan(measure(_model(), images, labels, TRIGGER, TARGET))


def test_leaves_the_images_alone() -> None:
    images, labels = _set((0, 0.4))
    before = images.clone()
    attack_success_rate(_model(), images, labels, TRIGGER, TARGET)
    assert torch.equal(images, before)
