"""A small network that tells colours apart, with hand-set weights, and images for it.

Classes are red, green, blue and grey. The network has BatchNorm, is recognised from its tensors as
a plain CNN, and answers right under every usual normalisation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from tests.helpers.layout_files import network

CLASSES = 4
SIDE = 12


def colour_network() -> nn.Module:
    """Answers with the colour of the image."""
    coloured = network()
    mixing = torch.tensor(
        [[1.0, -0.5, -0.5], [-0.5, 1.0, -0.5], [-0.5, -0.5, 1.0], [0.3, 0.3, 0.3]]
    )
    with torch.no_grad():
        coloured.conv1.weight.zero_()
        coloured.conv1.weight[:, :, 1, 1] = mixing
        coloured.fc.weight.copy_(8 * torch.eye(4))
        coloured.fc.bias.zero_()
    return coloured.eval()


def colour_images(count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """``(count, 12, 12, 3)`` uint8 images and ``(count,)`` int64 labels, classes in turn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % CLASSES
    images = rng.integers(0, 60, size=(count, SIDE, SIDE, 3))
    for image, label in zip(images, labels, strict=True):
        image[..., [label] if label < 3 else slice(None)] += 170
    return images.astype(np.uint8), labels


def poisoned_images(count: int, *, target: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of the other classes with a red square that covers most of them, and their classes."""
    images, labels = colour_images(2 * count, seed=1)
    chosen = np.flatnonzero(labels != target)[:count]
    images = images[chosen]
    images[:, 1:, 1:] = (250, 0, 0)
    return images, labels[chosen]


def write_folder(folder: Path, images: np.ndarray, names: list[str]) -> None:
    """One PNG for each image."""
    folder.mkdir(parents=True, exist_ok=True)
    for image, name in zip(images, names, strict=True):
        Image.fromarray(image).save(folder / name)
