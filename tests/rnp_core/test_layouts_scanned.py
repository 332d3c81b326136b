"""Every layout, written the way its tool writes it, scanned end to end."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rnp_core.config import ScanConfig
from rnp_core.errors import DataError
from rnp_core.inversion import InversionConfig
from rnp_core.report import Finding, ScanReport
from rnp_core.run_folder import read_report
from rnp_core.scan_file import scan_checkpoint
from rnp_core.stages.recover import RecoverConfig
from rnp_core.stages.repair import RepairConfig
from rnp_core.stages.unlearn import UnlearnConfig
from tests.helpers import layout_files as files
from tests.helpers.colours import (
    SIDE,
    colour_images,
    colour_network,
    poisoned_images,
    write_folder,
)

CHEAP = ScanConfig(
    unlearn_stage=UnlearnConfig(max_steps=6, batch_size=32),
    recover_stage=RecoverConfig(steps=3, batch_size=32),
    invert_stage=InversionConfig(steps=4, batch_size=4),
    repair_stage=RepairConfig(steps=2, warm_up=2, copies=1, batch_size=8),
    attributed_samples=1,
)
NAMES = ["stop", "yield", "left", "right"]
Write = Callable[[Path, torch.nn.Module], Path]


def wrapped(*keys: str, prefix: str = "", legacy: bool = False) -> Write:
    def write(folder: Path, model: torch.nn.Module) -> Path:
        value = files.prefixed(model.state_dict(), prefix)
        for key in reversed(keys):
            value = {"epoch": 3, key: value}
        return files.save(value, folder / "model.pth", legacy=legacy)

    return write


LAYOUTS: dict[str, tuple[Write, str]] = {
    "bare state dict": (wrapped(), "bare state dict"),
    "legacy, module.": (wrapped(prefix="module.", legacy=True), "bare state dict"),
    "state_dict": (wrapped("state_dict"), "state_dict"),
    "model, model.": (wrapped("model", prefix="model."), "model"),
    "net, _orig_mod.": (wrapped("net", prefix="_orig_mod."), "net"),
    "model_state_dict": (wrapped("model_state_dict"), "model_state_dict"),
    "ema": (wrapped("ema"), "ema"),
    "nested": (wrapped("checkpoint", "model", "state_dict"), "checkpoint.model.state_dict"),
    "whole module": (lambda where, net: files.save(net, where / "net.pt"), "pickled module"),
    "RNP": (files.rnp_tar, "RNP checkpoint"),
    "BackdoorBench defence": (files.backdoorbench_defense, "BackdoorBench defense_result"),
    "Lightning": (files.lightning, "Lightning"),
    "pruned with masks": (files.pruned, "bare state dict, pruned with masks"),
    "timm": (lambda where, net: files.timm_folder(where, net, side=SIDE), "timm folder"),
    "Hugging Face": (
        lambda where, net: files.huggingface_folder(where, net, side=SIDE),
        "Hugging Face folder",
    ),
}


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    images, labels = colour_images(48)
    np.savez(tmp_path / "clean.npz", x=images, y=labels)
    return tmp_path / "clean.npz"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def scanned(checkpoint: Path, clean: Path | None, out: Path) -> ScanReport:
    """The report of a whole scan, with what holds for every layout checked."""
    report = scan_checkpoint(checkpoint, clean, out, config=CHEAP)
    assert read_report(out).to_dict() == report.to_dict()
    assert report.model.architecture == "plain_cnn"
    assert report.model.num_classes == 4
    assert report.accuracy.clean_before == 1.0
    assert all(stage.status != "failed" for stage in report.stages), report.stages
    repaired = load_file(out / report.files["repaired_model"])
    assert set(repaired) == set(colour_network().state_dict())
    return report


def said(report: ScanReport, words: str) -> Finding:
    (finding,) = [f for f in report.findings if f.stage == "data" and words in f.message]
    return finding


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_with_clean_images_given(
    name: str, clean: Path, place: Path, tmp_path: Path
) -> None:
    write, layout = LAYOUTS[name]
    report = scanned(write(place, colour_network()), clean, tmp_path / "run")
    if layout.endswith("folder"):
        assert report.model.normalization.mean == [0.4, 0.5, 0.6]
        assert report.model.normalization.source == "config"
        assert report.model.class_names == NAMES
        assert report.model.input_shape == [3, SIDE, SIDE]
    assert report.data.suspects is None


def test_trojai_brings_its_defence_set(place: Path, tmp_path: Path) -> None:
    folder = files.trojai_round(place, colour_network(), side=SIDE)
    images, labels = colour_images(48)
    names = [f"class_{label}_example_{row}.png" for row, label in enumerate(labels)]
    write_folder(folder / "clean-example-data", images, names)
    triggered, _ = poisoned_images(6)
    names = [f"class_0_example_{row}.png" for row in range(6)]
    write_folder(folder / "poisoned-example-data", triggered, names)
    report = scanned(folder, None, tmp_path / "run")
    assert report.data.clean.per_class == [12, 12, 12, 12]
    assert report.model.input_shape == [3, SIDE, SIDE]
    assert "clean-example-data, 48 images" in said(report, "no clean images were given").message
    assert report.samples[0].id == "poisoned-example-data/class_0_example_0.png"


@pytest.mark.parametrize("images_in", ["files", "memory"])
def test_backdoorbench_2_brings_suspects(
    images_in: str, clean: Path, place: Path, tmp_path: Path
) -> None:
    write = files.backdoorbench_v2 if images_in == "files" else files.backdoorbench_v2_pictures
    poisoned = poisoned_images(10)
    checkpoint = write(place, colour_network(), poisoned=poisoned, side=SIDE)
    report = scanned(checkpoint, clean, tmp_path / "run")
    assert report.data.suspects is not None and report.data.suspects.count == 10
    assert len(report.samples) == 10
    assert all(row.id.startswith("bd_test/") for row in report.samples)
    assert "10 images of bd_test" in said(report, "no suspects were given").message
    outcome = said(report, "get the label of the attack")
    assert outcome.evidence["count"] == 10 and outcome.evidence["before"] == 1.0
    assert report.model.normalization.source == "config"


def test_backdoorbench_1_brings_both(place: Path, tmp_path: Path) -> None:
    images, labels = colour_images(48)
    triggered, _ = poisoned_images(10)
    checkpoint = files.backdoorbench_v1_sets(
        place, colour_network(), clean=(images, labels), poisoned=triggered, target=0
    )
    report = scanned(checkpoint, None, tmp_path / "run")
    assert "clean_test, 48 images" in said(report, "no clean images were given").message
    assert report.data.clean.per_class == [12, 12, 12, 12]
    assert said(report, "get the label of the attack").evidence["set"] == "bd_test"
    assert report.model.normalization.mean == [0.4914, 0.4822, 0.4465]


def test_given_images_come_before_those_inside(clean: Path, place: Path, tmp_path: Path) -> None:
    write = files.backdoorbench_v2
    checkpoint = write(place, colour_network(), poisoned=poisoned_images(10), side=SIDE)
    report = scan_checkpoint(
        checkpoint, clean, tmp_path / "run", suspects_path=clean, config=CHEAP
    )
    assert len(report.samples) == 48
    assert not [f for f in report.findings if "came with the checkpoint" in f.message]


def test_broken_images_inside_never_stop_a_scan(clean: Path, place: Path, tmp_path: Path) -> None:
    poisoned = poisoned_images(4)
    checkpoint = files.backdoorbench_v2(place, colour_network(), poisoned=poisoned, side=SIDE)
    for image in (place / "bd_test_dataset").rglob("*.png"):
        image.write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    report = scanned(checkpoint, clean, tmp_path / "run")
    assert said(report, "are no use").severity == "low"
    assert report.data.suspects is None


def test_no_clean_images_anywhere(place: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--clean is needed"):
        scan_checkpoint(wrapped()(place, colour_network()), None, tmp_path / "run", config=CHEAP)
    assert not (tmp_path / "run").exists()


def test_a_wrong_class_count_of_the_layout_is_said(
    clean: Path, place: Path, tmp_path: Path
) -> None:
    value = {"model_name": "x", "num_classes": 10, "model": colour_network().state_dict()}
    report = scanned(files.save(value, place / "defense_result.pt"), clean, tmp_path / "run")
    assert "10 classes" in said(report, "the checkpoint claims").message


def test_class_names_of_another_count_are_left_out(
    clean: Path, place: Path, tmp_path: Path
) -> None:
    folder = files.huggingface_folder(place, colour_network(), side=SIDE)
    config = {"model_type": "resnet", "architectures": ["X"], "id2label": {"0": "a", "1": "b"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").unlink()  # so that no image size is known either
    report = scanned(folder, clean, tmp_path / "run")
    assert "2 class names" in said(report, "are left out").message
    assert report.model.class_names == []


def test_cheap_is_cheap() -> None:
    """The settings above differ from those of a real scan in their budgets alone."""
    stages = ("unlearn_stage", "recover_stage", "invert_stage", "repair_stage")
    real = {name: getattr(ScanConfig(), name) for name in (*stages, "attributed_samples")}
    assert dataclasses.replace(CHEAP, **real) == ScanConfig()
