"""Reading what the benchmark scans: trained models and the shared checkpoints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.images import shared_images, signs_images
from benchmarks.subjects import read_shared, read_zoo
from rnp_core.errors import DataError
from tests.helpers.shared import SHARED, needs_shared


def write_zoo(folder: Path, **changes: Any) -> Path:
    """One model with a card, and its images."""
    model = folder / "one"
    model.mkdir()
    save_file({"weight": torch.zeros(2)}, model / "model.safetensors")
    save_file({"values": torch.ones(3, 2, 2)}, model / "trigger.safetensors")
    digest = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    card = {
        "name": "one",
        "file": "model.safetensors",
        "sha256": digest,
        "dataset": "cifar10",
        "control": "",
        "split": "report",
        "architecture": "vgg",
        "attack": {"name": "badnets", "poison_rate": 0.1, "target": 2, "top": 1, "left": 3},
        **changes,
    }
    card = {key: value for key, value in card.items() if value != "missing"}
    (model / "card.json").write_text(json.dumps(card))
    (folder / "images").mkdir()
    for kind in ("clean", "test"):
        x = np.zeros((20, 8, 8, 3), np.uint8)
        np.savez(folder / "images" / f"cifar10-{kind}.npz", x=x, y=np.arange(20) % 2)
    return folder


def test_a_trained_model_is_read(tmp_path: Path) -> None:
    (subject,) = read_zoo(write_zoo(tmp_path))
    assert (subject.name, subject.attack, subject.control) == ("one", "badnets", "")
    assert (subject.targets, subject.sources, subject.split) == ((2,), (), "report")
    assert subject.clean.name == "cifar10-clean.npz"
    images = torch.zeros(2, 3, 8, 8)
    assert subject.trigger(images).sum() == 2 * 3 * 4
    assert subject.trigger(images)[0, 0, 1:3, 3:5].min() == 1
    assert subject.wanted_label(torch.tensor([0, 1])).tolist() == [2, 2]


def test_a_clean_model_has_no_trigger(tmp_path: Path) -> None:
    (subject,) = read_zoo(write_zoo(tmp_path, attack=None, control="seed"))
    assert (subject.attack, subject.control, subject.targets) == ("none", "seed", ())
    with pytest.raises(DataError, match="one has no trigger"):
        subject.trigger(torch.zeros(1, 3, 8, 8))
    with pytest.raises(DataError, match="one has no trigger"):
        subject.wanted_label(torch.zeros(1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "0" * 64}, "with the SHA-256 0000"),
        ({"split": "other"}, "expected a split among tune, report, fresh, few, shared"),
        ({"architecture": "missing"}, "expected the entry 'architecture'"),
        ({"attack": {"name": "odd"}}, "expected an attack among"),
        ({"attack": {"name": "badnets"}}, "cannot restore the attack badnets"),
        ({"dataset": "mnist"}, "expected the images"),
        ({"file": "../../etc/passwd"}, "cannot read the model"),
    ],
    ids=str,
)
def test_cards_that_do_not_fit_are_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=words):
        read_zoo(write_zoo(tmp_path, **changes))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "one" / "card.json").write_text("["), "cannot read"),
        (lambda folder: (folder / "one" / "card.json").write_text("[]"), "expected an object"),
        (
            lambda folder: (folder / "one" / "trigger.safetensors").write_bytes(b"x" * 20),
            "cannot read the model",
        ),
        (lambda folder: (folder / "one" / "card.json").unlink(), "expected folders with a card"),
    ],
)
def test_broken_folders_are_refused(
    change: Callable[[Path], Any], words: str, tmp_path: Path
) -> None:
    write_zoo(tmp_path)
    change(tmp_path)
    with pytest.raises(DataError, match=words):
        read_zoo(tmp_path)


def test_rendered_images_are_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def render(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        calls.append((count, seed))
        return np.zeros((count, 4, 4, 3), np.uint8), np.arange(count) % 2

    monkeypatch.setattr("benchmarks.images.render_set", render)
    first, again = signs_images(tmp_path), signs_images(tmp_path)
    assert first == again
    assert len(calls) == 2
    assert len({seed for _, seed in calls}) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [first.clean.name, first.test.name]
    )


def test_shared_material_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected folders with a card.json"):
        read_shared(tmp_path, images=tmp_path)
    with pytest.raises(DataError, match="expected a data set among"):
        shared_images("svhn", tmp_path, tmp_path)
    with pytest.raises(DataError, match="cannot read the shared images"):
        shared_images("mnist", tmp_path, tmp_path / "cache")


@needs_shared
def test_the_shared_checkpoints_are_read(tmp_path: Path) -> None:
    assert SHARED is not None
    subjects = {subject.name: subject for subject in read_shared(SHARED, images=tmp_path)}
    assert len(subjects) == 12
    assert all(subject.checkpoint.is_file() for subject in subjects.values())
    assert all(subject.split == "shared" for subject in subjects.values())
    kinds = [(subject.attack == "none", subject.control) for subject in subjects.values()]
    assert kinds.count((False, "")) == 7
    assert kinds.count((True, "public")) == 4
    assert kinds.count((True, "repaired")) == 1
    assert subjects["ibau-badnets"].targets == (8,)
    mnist = subjects["badnet-mnist"]
    assert mnist.trigger(torch.zeros(1, 1, 28, 28))[0, 0, 23:28, 23:28].min() == 1
    for subject in subjects.values():
        with np.load(subject.clean) as clean, np.load(subject.test) as test:
            assert len(clean["x"]) == 500
            assert clean["x"].ndim == 4
            apart = {row.tobytes() for row in clean["x"]} & {row.tobytes() for row in test["x"]}
            assert not apart
