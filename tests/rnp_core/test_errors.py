"""Errors that no other test reaches: each ``raise`` once, with what it says."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rnp_core.architectures import build, load_callable
from rnp_core.checkpoints import OfferedImages
from rnp_core.cli import main
from rnp_core.data import DefenseSet
from rnp_core.errors import (
    ArchitectureError,
    CheckpointError,
    ConfigError,
    DataError,
    ReportError,
    RnpError,
)
from rnp_core.offered import staged
from rnp_core.preparation import split
from rnp_core.request import ScanRequest
from rnp_core.run_reader import RunFolder, read_report
from rnp_core.scan_file import scan_request
from rnp_core.stage_store import StageStore
from rnp_core.subject import load_subject
from tests.helpers.models import QuadrantMlp, planted_model
from tests.helpers.sets import quadrant_set
from tests.helpers.tiny_files import write_clean, write_model

Patch = pytest.MonkeyPatch


def test_a_file_that_python_cannot_import(tmp_path: Path, monkeypatch: Patch) -> None:
    file = tmp_path / "net.py"
    file.touch()
    monkeypatch.setattr(importlib.util, "spec_from_file_location", lambda *unused: None)
    with pytest.raises(ArchitectureError, match=r"cannot import .*net\.py as Python"):
        load_callable(f"{file}:net", 4)


def test_a_library_that_does_not_know_the_model(monkeypatch: Patch) -> None:
    def get_model(name: str, **unused: object) -> object:
        raise ValueError(f"Unknown model {name}")

    library = types.ModuleType("torchvision")
    models = types.ModuleType("torchvision.models")
    models.get_model = get_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", library)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    with pytest.raises(ArchitectureError, match="torchvision cannot build x: Unknown model x"):
        build("torchvision:x", num_classes=4)


def test_images_inside_a_checkpoint_that_cannot_be_copied(tmp_path: Path) -> None:
    gone = OfferedImages("clean", "clean-example-data", paths=(tmp_path / "gone.png",))
    words = "cannot copy the images that came with the checkpoint: No such file"
    with pytest.raises(DataError, match=words), staged(gone):
        pass


def test_too_few_images_to_hold_some_out() -> None:
    images = quadrant_set(1)
    two = DefenseSet(images.images[:2], images.labels[:2])
    with pytest.raises(DataError, match="expected more clean images to hold some out, got 2"):
        split(two, 0.2, 0)


def test_a_report_of_unlikely_size(tmp_path: Path, monkeypatch: Patch) -> None:
    (tmp_path / "report.json").write_text("{}" + " " * 100)
    monkeypatch.setattr("rnp_core.run_reader._LARGEST_REPORT", 50)
    with pytest.raises(ReportError, match="expected a report below 0 MiB at .*report.json"):
        read_report(tmp_path)
    with pytest.raises(ReportError, match="expected the folder of a scan, found none at .*none"):
        RunFolder.open(tmp_path / "none")


def test_a_gpu_that_is_not_there_is_told_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    request = ScanRequest("model.pth", "clean.npz", str(tmp_path / "run"), device="cuda")
    with pytest.raises(ConfigError, match="PyTorch sees none; use cpu or auto"):
        scan_request(request)


def test_a_result_that_cannot_be_kept_is_only_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = StageStore(tmp_path, model=planted_model(), fingerprint="x")
    store.save("recover", {"layer": object()})
    assert "result of stage recover cannot be kept: cannot keep a object" in caplog.text
    assert list(tmp_path.iterdir()) == []


def not_finite(folder: Path) -> dict[str, Path | None]:
    state = QuadrantMlp().state_dict()
    torch.save({**state, "head.bias": torch.full((4,), torch.inf)}, folder / "bad.pth")
    return {"checkpoint_path": folder / "bad.pth"}


def too_large(folder: Path) -> dict[str, Path | None]:
    pixels = np.zeros((40, 12, 12, 3), np.uint8)
    np.savez(folder / "bad.npz", x=pixels, y=np.arange(40) % 5)
    return {"clean_path": folder / "bad.npz"}


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (not_finite, CheckpointError, r"1 tensor\(s\) hold NaN or infinity: head.bias"),
        (lambda folder: {"clean_path": None}, DataError, "--clean is needed"),
        (too_large, DataError, r"expected labels in \[0, 4\), got 0 to 4"),
    ],
)
def test_what_makes_no_subject(
    tmp_path: Path,
    spoil: Callable[[Path], dict[str, Path | None]],
    error: type[RnpError],
    words: str,
) -> None:
    given: dict[str, Path | None] = {
        "checkpoint_path": write_model(tmp_path / "model.pth"),
        "clean_path": write_clean(tmp_path / "clean.npz"),
    }
    with pytest.raises(error, match=words):
        load_subject(**{**given, **spoil(tmp_path)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scan", "--out", "run"], "expected a checkpoint to scan, or --from-report FILE"),
        (["scan", "m.pth", "--out", "run", "--memory", "nan"], "expected --memory in GiB, got nan"),
        (["scan", "--out", "run", "--from-report", "r.json", "--seed", "3"], "--seed cannot go"),
        (["report", "run", "--format", "json", "--public-key", "x"], "--public-key goes with"),
    ],
)
def test_options_that_do_not_fit(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert words in said.err


def test_every_error_of_the_package_can_be_caught_as_one() -> None:
    from rnp_core import errors

    raised = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert all(issubclass(error, RnpError) for error in raised)
    assert not any(dataclasses.is_dataclass(error) for error in raised)
