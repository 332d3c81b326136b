"""The architecture guess of an inspection: right, or the closest miss, and bounded."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from rnp_core.architectures import build
from rnp_core.checkpoints import inspect_checkpoint
from rnp_core.checkpoints.architecture_guess import guess_architecture
from tests.helpers import layout_files as files


def shapes(name: str, classes: int = 7) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        state = build(name, num_classes=classes).state_dict()
    return {key: tuple(value.shape) for key, value in state.items()}


@pytest.mark.parametrize(
    ("name", "family", "depth", "width"),
    [
        ("resnet20", "resnet", 20, 64),
        ("resnet18", "resnet", 21, 512),
        ("vgg16", "vgg", 16, 4096),
        ("densenet121", "densenet", 121, 1024),
    ],
)
def test_family_depth_width_and_classes(name: str, family: str, depth: int, width: int) -> None:
    guess = guess_architecture(shapes(name))
    assert (guess.name, guess.family, guess.num_classes) == (name, family, 7)
    assert guess.depth == depth
    assert guess.width == width or name == "densenet121"
    assert guess.miss is None and guess.variants >= 1


def test_the_closest_miss_is_named() -> None:
    table = shapes("resnet20")
    del table["conv1.weight"]
    table["extra.weight"] = (3,)
    guess = guess_architecture(table)
    assert guess.name is None
    assert guess.miss is not None
    assert "extra.weight" in guess.miss or "no known architecture" in guess.miss


def test_an_inspection_carries_it(tmp_path: Path) -> None:
    model = build("resnet20", num_classes=4)
    wrapped = {"state_dict": files.prefixed(model.state_dict(), "module.")}
    inspection = inspect_checkpoint(files.save(wrapped, tmp_path / "m.pth"))
    assert inspection.architecture is not None
    assert inspection.architecture.name == "resnet20"
    assert inspection.to_dict()["architecture"]["num_classes"] == 4
    (tmp_path / "text.pth").write_text("nothing")
    refused = inspect_checkpoint(tmp_path / "text.pth")
    assert refused.architecture is None and refused.to_dict()["architecture"] is None


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"some.odd.weight": (3, 2, 2)},
        {f"layer{i}.{j}.conv1.weight": (9, 9, 3, 3) for i in range(90) for j in range(100)},
        {f"features.{i}.weight": (8, 8, 3, 3) for i in range(9000)},
        {f"conv{i}.weight": (8, 8, 3, 3) for i in range(2000)} | {"fc.weight": (8, 8)},
        {f"blocks.{i}.attn.qkv.weight": (1 << 30, 1 << 30) for i in range(3000)},
        {f"a{i}.weight": (4, 4) for i in range(20_000)},
        {"conv1.weight": (1 << 60, 3, 1 << 60, 3), "fc.weight": (1 << 60, 1 << 60)},
        {"fc.weight": (0, 0), "fc.bias": (0,)},
        {"\x1b[2J.weight": (3, 3)},
    ],
)
def test_hostile_tables_are_answered_quickly(table: dict[str, tuple[int, ...]]) -> None:
    started = time.monotonic()
    guess = guess_architecture(table)
    assert time.monotonic() - started < 20
    if guess.miss is not None:
        assert guess.miss.isprintable() and len(guess.miss) < 2000
