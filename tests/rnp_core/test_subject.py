"""From files to a model and its images: sizes, caps and what is said when they do not fit."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rnp_core import subject
from rnp_core.errors import CheckpointError, ModelError
from rnp_core.subject import load_subject
from tests.helpers.tiny_files import write_clean, write_model

OWN = """
from collections import OrderedDict
from torch import nn

def any_size(num_classes):
    return nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(3, 8, 3, padding=1), pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(), fc=nn.Linear(8, num_classes)))

def one_size(num_classes):
    return nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(3, 8, 3, padding=1), flatten=nn.Flatten(),
        fc=nn.Linear(8 * 16 * 16, num_classes)))
"""


def write_images(path: Path, height: int, width: int, *, classes: int = 4) -> Path:
    count = 5 * classes
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    np.savez(path, x=pixels, y=np.arange(count) % classes)
    return path


def write_own(folder: Path, name: str) -> tuple[Path, str]:
    """A checkpoint of one of the networks above, and its reference."""
    source = folder / "own.py"
    source.write_text(OWN)
    space: dict[str, object] = {}
    exec(OWN, space)  # noqa: S102  (the text above)
    torch.save(space[name](4).state_dict(), folder / "own.pth")  # type: ignore[operator]
    return folder / "own.pth", f"{source}:{name}"


def test_images_that_are_not_square_are_made_so_like_the_suspects(tmp_path: Path) -> None:
    checkpoint, arch = write_own(tmp_path, "any_size")
    clean = write_images(tmp_path / "clean.npz", 12, 20)
    suspects = write_images(tmp_path / "suspects.npz", 30, 20)
    found = load_subject(checkpoint, clean, suspects_path=suspects, arch=arch)
    assert found.model.input_shape == (3, 12, 12)
    assert found.suspects is not None
    assert found.clean.images.images.shape[1:] == found.suspects.images.images.shape[1:]
    for read in (found.clean, found.suspects):
        assert any("20 of 20 images stretched" in text for text in read.warnings)


def test_a_network_that_wants_another_size_says_what_to_do(tmp_path: Path) -> None:
    checkpoint, arch = write_own(tmp_path, "one_size")
    clean = write_images(tmp_path / "clean.npz", 12, 12)
    with pytest.raises(ModelError, match="on 3x12x12 images.*resize the clean images to it"):
        load_subject(checkpoint, clean, arch=arch)
    fitting = write_images(tmp_path / "fitting.npz", 16, 16)
    assert load_subject(checkpoint, fitting, arch=arch).model.input_shape == (3, 16, 16)


def test_the_cap_on_clean_images_leaves_two_of_every_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "MAX_CLEAN", 20)
    network = nn.Sequential(
        OrderedDict(fc1=nn.Linear(3 * 8 * 8, 16), relu=nn.ReLU(), fc2=nn.Linear(16, 24))
    )
    torch.save(network.state_dict(), tmp_path / "model.pth")
    clean = write_images(tmp_path / "clean.npz", 8, 8, classes=24)
    labels = load_subject(tmp_path / "model.pth", clean).clean.images.labels
    assert torch.bincount(labels).tolist() == [2] * 24


def test_weights_that_are_not_finite_name_the_file(tmp_path: Path) -> None:
    checkpoint = write_model(tmp_path / "model.pth")
    state = torch.load(checkpoint, weights_only=True)
    state["head.bias"][0] = float("nan")
    torch.save(state, checkpoint)
    with pytest.raises(CheckpointError, match="^model.pth: expected finite weights"):
        load_subject(checkpoint, write_clean(tmp_path / "clean.npz"))
