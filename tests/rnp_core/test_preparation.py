"""What a scan computes on: the parts of the clean images, batches and the faster network."""

from __future__ import annotations

import pytest
import torch

import rnp_core
from rnp_core.errors import DataError
from rnp_core.model import SuspectModel
from rnp_core.preparation import accelerate_for_scan, split, with_fitting_batches
from tests.helpers.models import planted_model
from tests.helpers.sets import quadrant_set

SET = quadrant_set(20)
CONFIG = rnp_core.preset_config("quick")


def test_batches_are_the_same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    model, compared = planted_model(), []
    monkeypatch.setattr(
        "rnp_core.preparation.accelerate", lambda model, images, **options: compared.append(images)
    )
    for side, batch in ((12, 128), (224, 32), (1000, 16)):
        model.input_shape = (3, side, side)
        found = []
        for device in ("cpu", "cuda"):
            with monkeypatch.context() as patch:
                patch.setattr(SuspectModel, "device", torch.device(device))
                found.append(with_fitting_batches(CONFIG, model))
                accelerate_for_scan(model, SET, CONFIG)
        assert found[0] == found[1] and found[0].unlearn_stage.batch_size == batch
    assert [len(images) for images in compared] == [64, 64, 32, 32, 1, 1]


def test_sets_with_one_image_a_class_are_parted_too() -> None:
    single = rnp_core.DefenseSet(torch.rand(10, 3, 4, 4), torch.arange(10))
    fit, held_out = split(single, 0.3, 0)
    assert (len(fit), len(held_out)) == (7, 3)


def test_each_class_is_parted_alike_and_no_image_is_in_both_parts() -> None:
    fit, held_out = split(SET, 0.3, 0)
    assert fit.labels.bincount().tolist() == [14] * 4
    assert held_out.labels.bincount().tolist() == [6] * 4
    fitted = {image.numpy().tobytes() for image in fit.images}
    assert not any(image.numpy().tobytes() in fitted for image in held_out.images)


def test_a_single_image_cannot_be_parted() -> None:
    with pytest.raises(DataError, match="expected more clean images to hold some out, got 1"):
        split(rnp_core.DefenseSet(torch.rand(1, 3, 4, 4), torch.zeros(1).long()), 0.3, 0)
