"""Which images a recovered trigger flips."""

from __future__ import annotations

import torch

from rnp_core.inversion import flip_rate
from tests.helpers.models import TARGET, planted_model
from tests.helpers.sets import quadrant_set
from tests.helpers.triggers import corner_patch


def test_flip_rate_counts_other_classes_only() -> None:
    model, clean = planted_model(), quadrant_set(5)
    assert flip_rate(model, corner_patch(TARGET), clean) == 1.0
    assert flip_rate(model, corner_patch(0), clean) == 0.0
    own = clean.subset(torch.nonzero(clean.labels == TARGET).flatten())
    assert flip_rate(model, corner_patch(TARGET), own) == 0.0
