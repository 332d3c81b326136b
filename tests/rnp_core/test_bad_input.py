"""Every kind of bad input through the command line: one clear line, exit code 2, nothing lost; or a
named warning where the scan can go on.

The scan runs in this process and with a tiny budget, so that every case takes milliseconds; that
errors cross from the child process in which scans run is tested in ``test_cli.py``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from rnp_core import scan_file
from rnp_core.cli import main
from rnp_core.config import ScanConfig, preset_config
from rnp_core.errors import ScanCancelled
from rnp_core.inversion import InversionConfig
from rnp_core.progress import OnProgress, Progress
from rnp_core.report import ScanReport
from rnp_core.request import ScanRequest
from rnp_core.scan_file import scan_request
from rnp_core.stages.recover import RecoverConfig
from rnp_core.stages.unlearn import UnlearnConfig
from tests.helpers.models import CLASSES, QuadrantMlp
from tests.helpers.sets import quadrant_set
from tests.helpers.tiny_files import write_clean, write_model

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def brief_scan_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def here(request: ScanRequest, *, limits: object, on_progress: OnProgress) -> ScanReport:
        return scan_request(request, on_progress=on_progress)

    def brief(name: str, *, seed: int) -> ScanConfig:
        return dataclasses.replace(
            preset_config(name, seed=seed),
            unlearn_stage=UnlearnConfig(max_steps=3),
            recover_stage=RecoverConfig(steps=2, batch_size=8),
            invert_stage=InversionConfig(steps=3, batch_size=2),
            repair=False,
        )

    monkeypatch.setattr("rnp_core.isolation.isolated_scan", here)
    monkeypatch.setattr(scan_file, "preset_config", brief)


class Case:
    """Good inputs in a folder, to be spoilt one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = write_model(folder / "model.pth")
        self.clean = write_clean(folder / "clean.npz")
        self.out = folder / "results" / "run"
        self.out.parent.mkdir()

    def scan(self, *more: str) -> int:
        return main(
            ["scan", str(self.checkpoint), "--clean", str(self.clean), "--out", str(self.out)]
            + ["--no-history", "--quiet", *more]
        )

    def files(self) -> dict[str, str]:
        """Digest of everything on disk."""
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file()
            else "folder"
            for path in sorted(self.folder.rglob("*"))
        }

    def refused(self, capsys: Capsys, *more: str) -> str:
        """The one line of a scan that must fail and leave the disk as it is."""
        before = self.files()
        capsys.readouterr()
        code = self.scan(*more)
        said = capsys.readouterr()
        assert code == 2
        assert said.out == ""
        assert said.err.startswith("rnp: ") and said.err.count("\n") == 1
        assert self.files() == before
        return said.err

    def warned(self, *more: str) -> list[str]:
        """Messages of the findings of a scan that goes on."""
        assert self.scan(*more) in (0, 1, 3)
        report = json.loads((self.out / "report.json").read_text(encoding="utf-8"))
        return [finding["message"] for finding in report["findings"]]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def write_folder(path: Path, sides: Callable[[int], int] = lambda index: 12) -> Path:
    """Clean images as class folders of PNG files; ``sides`` gives the size of each."""
    images = quadrant_set(15)
    for index, (image, label) in enumerate(zip(images.images, images.labels.tolist(), strict=True)):
        pixels = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        place = path / str(label)
        place.mkdir(parents=True, exist_ok=True)
        side = sides(index)
        Image.fromarray(pixels).resize((side, side)).save(place / f"{index:03}.png")
    return path


# The checkpoint


def as_bytes(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


STATE = QuadrantMlp().state_dict()
WHOLE = as_bytes(STATE)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (WHOLE[: len(WHOLE) // 2], "cut short|damaged|truncated|not a"),
        (WHOLE[:-1], ""),
        (b"a letter, not a checkpoint", "expected a checkpoint|not a checkpoint|unknown"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), ""),
        (as_bytes({"epoch": 3, "accuracy": 0.9}), "tensors|weights"),
        (as_bytes([1, 2, 3]), "tensors|weights"),
        (as_bytes({"weight": torch.tensor(3.0)}), ""),
    ],
    ids=["empty", "half", "one byte short", "text", "picture", "no tensors", "list", "scalar"],
)
def test_a_file_that_is_no_whole_checkpoint(
    case: Case, capsys: Capsys, content: bytes, words: str
) -> None:
    case.checkpoint.write_bytes(content)
    line = case.refused(capsys)
    assert not words or any(word in line for word in words.split("|")), line


def test_a_file_that_is_not_there_or_may_not_be_read(case: Case, capsys: Capsys) -> None:
    missing = case.checkpoint.rename(case.folder / "moved.pth")
    assert "model.pth" in case.refused(capsys)
    missing.rename(case.checkpoint)
    case.checkpoint.chmod(0)
    if not os.access(case.checkpoint, os.R_OK):
        assert "Permission denied" in case.refused(capsys)
    case.checkpoint.chmod(0o600)


def test_an_unknown_architecture_says_what_to_do(case: Case, capsys: Capsys) -> None:
    save_file({"some.odd.weight": torch.rand(3, 2, 2)}, case.checkpoint)
    line = case.refused(capsys)
    assert "some.odd.weight" in line and "FILE.py:CALLABLE" in line
    write_model(case.checkpoint)
    for arch, words in (
        ("alexnet", "expected the name of an architecture, got 'alexnet'"),
        ("resnet18", "the tensors are not those of resnet18; they are those of mlp, so leave"),
        ("nowhere.py:net", "No such file"),
        ("keras:resnet18", "expected torchvision:NAME or timm:NAME"),
    ):
        assert words in case.refused(capsys, "--arch", arch)


def test_missing_tensors_are_listed_with_the_closest_architecture(
    case: Case, capsys: Capsys
) -> None:
    from rnp_core.architectures import build

    with torch.device("meta"):
        shapes = build("resnet20", num_classes=CLASSES).state_dict()
    state = {name: torch.zeros(t.shape) for name, t in shapes.items()}
    lost = [name for name in state if name.endswith("conv1.weight")][:2]
    torch.save({name: t for name, t in state.items() if name not in lost}, case.checkpoint)
    line = case.refused(capsys)
    assert "the closest is" in line
    assert all(f"missing {name}" in line for name in lost)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(case: Case, capsys: Capsys, value: float) -> None:
    torch.save({**STATE, "second.weight": torch.full((4, 4), value)}, case.checkpoint)
    assert "1 tensor(s) hold NaN or infinity: second.weight" in case.refused(capsys)


# The images


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    np.savez(path, **arrays)  # type: ignore[arg-type]


def arrays(count: int, labels: np.ndarray) -> dict[str, np.ndarray]:
    return {"x": np.zeros((count, 12, 12, 3), np.uint8), "y": labels}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (arrays(0, np.arange(0)), "at least one|none|empty"),
        (arrays(40, np.zeros(40, np.int64)), "got only class 0"),
        (arrays(4, np.arange(4)), "at least 20 clean images, got 4"),
        (arrays(40, np.arange(40) % 5), r"labels in [0, 4), got 0 to 4"),
        (arrays(40, np.arange(40) % 4 - 1), r"labels in [0, 4), got -1 to 2"),
        (arrays(40, np.arange(30) % 4), "40"),
        ({"x": np.zeros((40, 12, 12, 3), np.uint8)}, "y"),
        ({"pictures": np.zeros((40, 12, 12, 3), np.uint8)}, "x"),
        ({"x": np.zeros((40, 12, 12, 7), np.uint8), "y": np.arange(40) % 4}, "7"),
        ({"x": np.zeros((40, 12, 12, 3)), "y": np.arange(40) % 4}, "uint8"),
    ],
    ids=["none", "one class", "far too few", "above the classes", "below 0"]
    + ["other count", "no labels", "no images", "seven channels", "floating point"],
)
def test_clean_images_that_cannot_be_used(
    case: Case, capsys: Capsys, content: Mapping[str, np.ndarray], words: str
) -> None:
    write_arrays(case.clean, **content)
    line = case.refused(capsys)
    assert any(word in line for word in words.split("|")), line


def test_folders_without_images(case: Case, capsys: Capsys) -> None:
    case.clean = case.folder / "images"
    assert "found nothing there" in case.refused(capsys)
    (case.clean / "0").mkdir(parents=True)
    assert "found none" in case.refused(capsys)
    (case.clean / "0" / "notes.txt").write_text("no picture")
    line = case.refused(capsys)
    assert "images" in line


def test_a_class_folder_too_many(case: Case, capsys: Capsys) -> None:
    case.clean = write_folder(case.folder / "images")
    (case.clean / "0").rename(case.clean / "9")
    (case.clean / "3").rename(case.clean / "0")
    (case.clean / "8").mkdir()
    Image.new("RGB", (12, 12)).save(case.clean / "8" / "a.png")
    assert "folders numbered 0 to 3 for 4 classes, got" in case.refused(capsys)


def test_images_of_mixed_sizes_become_the_most_common_one(case: Case) -> None:
    from collections import OrderedDict

    network = torch.nn.Sequential(  # runs at any size, so that only the images tell it
        OrderedDict(
            conv1=torch.nn.Conv2d(3, 8, 3, padding=1),
            pool=torch.nn.AdaptiveAvgPool2d(1),
            flatten=torch.nn.Flatten(),
            fc=torch.nn.Linear(8, CLASSES),
        )
    )
    torch.save(network.state_dict(), case.checkpoint)
    (case.folder / "own.py").write_text(
        "from collections import OrderedDict\nfrom torch import nn\n"
        "def network(num_classes):\n"
        "    return nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 8, 3, padding=1),\n"
        "        pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(8, num_classes)))"
    )
    case.clean = write_folder(case.folder / "images", lambda index: 12 + 4 * (index == 20))
    messages = case.warned("--arch", f"{case.folder}/own.py:network")
    assert any("resized to the most common one, 12x12" in message for message in messages)


def test_images_of_mixed_sizes_are_resized_where_the_model_tells_the_size(case: Case) -> None:
    case.clean = write_folder(case.folder / "images", lambda index: 12 + 4 * (index == 20))
    assert any("resized" in message for message in case.warned())


def test_broken_images_are_named_and_too_many_are_refused(case: Case, capsys: Capsys) -> None:
    case.clean = write_folder(case.folder / "images")
    (case.clean / "0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    messages = case.warned()
    assert any("broken images left out (1 of " in m and "0/broken.png" in m for m in messages)
    for path in sorted((case.clean / "1").iterdir())[:8]:
        path.write_bytes(path.read_bytes()[:60])
    case.out = case.out.with_name("again")
    assert "expected at most 10% broken images" in case.refused(capsys)


def test_bad_suspects(case: Case, capsys: Capsys) -> None:
    suspects = case.folder / "inbox"
    assert "found nothing there" in case.refused(capsys, "--suspects", str(suspects))
    suspects.mkdir()
    assert "found none" in case.refused(capsys, "--suspects", str(suspects))
    (suspects / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    line = case.refused(capsys, "--suspects", str(suspects))
    assert "expected images that can be read, all 1 are broken: a.png" in line


# Accuracy near chance


def test_a_wrong_normalisation_is_a_named_warning(case: Case) -> None:
    messages = case.warned("--mean", "1e9,1e9,1e9", "--std", "1,1,1")  # beyond float precision
    (message,) = [m for m in messages if "near chance" in m]
    assert "check the normalisation and the class order" in message
    report = json.loads((case.out / "report.json").read_text(encoding="utf-8"))
    assert report["verdict"] in ("inconclusive", "backdoored")
    assert report["model"]["normalization"]["source"] == "given"


def test_a_wrong_class_order_names_the_one_that_fits(case: Case) -> None:
    stored = np.load(case.clean)
    write_arrays(case.clean, x=stored["x"], y=(stored["y"] + 1) % CLASSES)
    (message,) = [m for m in case.warned() if "near chance" in m]
    assert "100% fit after relabelling 0->3, 1->0, 2->1, 3->2" in message


# The output folder


def test_an_output_that_cannot_be_written(case: Case, capsys: Capsys) -> None:
    case.out = case.checkpoint / "run"
    assert "cannot write to" in case.refused(capsys)
    case.out = case.checkpoint
    assert "is a file" in case.refused(capsys)
    case.out = case.folder / "locked" / "run"
    case.out.parent.mkdir(mode=0o500)
    if not os.access(case.out.parent, os.W_OK):
        assert "Permission denied" in case.refused(capsys)


def test_an_earlier_scan_outlives_everything_that_goes_wrong(
    case: Case, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert case.scan() in (0, 1, 3)
    assert "already holds a scan; use --force" in case.refused(capsys)
    torch.save({**STATE, "head.bias": torch.full((4,), float("nan"))}, case.checkpoint)
    case.refused(capsys, "--force")
    write_model(case.checkpoint)

    def stop(*unused: object, **options: object) -> object:
        raise ScanCancelled("enough")

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(scan_file, "scan", stop)
        assert "cancelled; nothing was written" in case.refused(capsys, "--force")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        assert "No space left on device" in case.refused(capsys, "--force")
    assert case.scan("--force") in (0, 1, 3)


def test_nothing_is_seen_before_the_scan_is_done(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = case.files()
    seen: list[Progress] = []

    def watched(request: ScanRequest, *, limits: object, on_progress: OnProgress) -> ScanReport:
        def look(progress: Progress) -> None:
            seen.append(progress)
            assert case.files() == before

        return scan_request(request, on_progress=look)

    monkeypatch.setattr("rnp_core.isolation.isolated_scan", watched)
    assert case.scan() in (0, 1, 3)
    assert seen
    assert [path.name for path in case.out.parent.iterdir()] == ["run"]
