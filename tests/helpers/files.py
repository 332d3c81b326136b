"""A tiny checkpoint and its clean images on disk, quick to scan."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

CLASSES = 4
SIDE = 8


def write_images(path: Path, *, count: int = 80, labels: np.ndarray | None = None) -> Path:
    """An npz of ``count`` images: class k has a bright band in rows 2k and 2k + 1."""
    rng = np.random.default_rng(0)
    y = np.arange(count) % CLASSES if labels is None else labels
    x = rng.integers(0, 80, size=(count, SIDE, SIDE, 3), dtype=np.uint8)
    for image, label in zip(x, np.arange(count) % CLASSES, strict=True):
        image[2 * label : 2 * label + 2] += 150
    np.savez(path, x=x, y=y)
    return path


def write_checkpoint(path: Path, **changes: torch.Tensor) -> Path:
    """A small MLP trained for a second on such images; ``changes`` replaces tensors by name."""
    state = dict(_trained())
    save_file({**state, **changes}, path)
    return path


_cache: dict[str, torch.Tensor] = {}


def _trained() -> dict[str, torch.Tensor]:
    if not _cache:
        generator = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            OrderedDict(
                flatten=torch.nn.Flatten(),
                fc1=torch.nn.Linear(3 * SIDE * SIDE, 24),
                relu=torch.nn.ReLU(),
                fc2=torch.nn.Linear(24, CLASSES),
            )
        )
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        for _ in range(150):
            labels = torch.randint(CLASSES, (64,), generator=generator)
            images = torch.rand((64, 3, SIDE, SIDE), generator=generator) * 80 / 255
            for image, label in zip(images, labels.tolist(), strict=True):
                image[:, 2 * label : 2 * label + 2] += 150 / 255
            loss = torch.nn.functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        _cache.update({name: p.detach().clone() for name, p in network.state_dict().items()})
    return _cache
