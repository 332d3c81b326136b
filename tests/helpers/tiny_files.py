"""Checkpoint and image files of a network so small that a whole scan takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.helpers.models import QuadrantMlp
from tests.helpers.sets import quadrant_set


def write_clean(path: Path, *, count: int = 15) -> Path:
    """Clean images as npz, ``count`` of each of the four classes."""
    images = quadrant_set(count)
    pixels = (images.images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    np.savez(path, x=pixels, y=images.labels.numpy())
    return path


def write_model(path: Path, *, seed: int = 0) -> Path:
    """A checkpoint that classifies them; another file for every ``seed``."""
    state = QuadrantMlp().state_dict()
    state["head.bias"] = state["head.bias"] + 1e-4 * seed
    torch.save(state, path)
    return path
