"""Small synthetic image sets that the networks of :mod:`tests.helpers.models` classify."""

from __future__ import annotations

import torch

from rnp_core.data import DefenseSet
from tests.helpers.models import CHANNELS, CLASSES, SIDE, quadrant


def quadrant_set(count: int = 10, *, seed: int = 0, contrast: float = 0.25) -> DefenseSet:
    """``count`` images of each class, in turn: one quadrant of a grey image is brighter.

    Values stay in [0.2, 0.8] at the default contrast. No image has a chequerboard of contrast above
    0.16 anywhere inside a quadrant.
    """
    generator = torch.Generator().manual_seed(seed)
    total = count * CLASSES
    tint = torch.rand((total, CHANNELS, 1, 1), generator=generator) * 0.1 - 0.05
    noise = torch.rand((total, CHANNELS, SIDE, SIDE), generator=generator) * 0.08 - 0.04
    labels = torch.arange(total) % CLASSES
    images = 0.4 + tint + noise
    for index, label in enumerate(labels.tolist()):
        rows, columns = quadrant(label)
        images[index, :, rows, columns] += contrast
    return DefenseSet(images, labels, ("nw", "ne", "sw", "se"))
