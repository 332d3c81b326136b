"""When two scans count as the same, and when a file counts as unchanged."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from rnp_core.errors import CheckpointError, DataError
from rnp_core.jobs.identity import Identifier, Identity
from rnp_core.manifest import file_sha256
from rnp_core.request import ScanRequest


@pytest.fixture
def request_(tmp_path: Path) -> ScanRequest:
    for name in ("model.pth", "clean.npz", "net.py"):
        (tmp_path / name).write_text(name)
    return ScanRequest(str(tmp_path / "model.pth"), str(tmp_path / "clean.npz"), "run")


def identify(request: ScanRequest) -> Identity:
    return Identifier().identify(request)


def test_what_does_not_decide_the_result_does_not_count(
    request_: ScanRequest, tmp_path: Path
) -> None:
    base = identify(request_)
    assert base.sha256 == file_sha256(tmp_path / "model.pth") and base.name == "model.pth"
    (tmp_path / "moved.pth").write_text("model.pth")
    (tmp_path / "moved.npz").write_text("clean.npz")
    moved = dataclasses.replace(
        request_, checkpoint=str(tmp_path / "moved.pth"), clean=str(tmp_path / "moved.npz"),
        out="elsewhere", threads=3, device="cpu", force=True,
    )
    assert dataclasses.replace(identify(moved), name="model.pth") == base


@pytest.mark.parametrize("changes", [{"seed": 1}, {"preset": "quick"}, {"repair": False},
                                     {"class_names": ("a", "b")}, {"arch": "resnet18"}])
def test_settings_count(request_: ScanRequest, changes: dict[str, object]) -> None:
    other = identify(dataclasses.replace(request_, **changes))  # type: ignore[arg-type]
    assert other.settings_key != identify(request_).settings_key


def test_the_code_of_an_architecture_counts_by_content(
    request_: ScanRequest, tmp_path: Path
) -> None:
    def key(file: str, name: str = "Net") -> str:
        arch = f"{tmp_path / file}:{name}"
        return identify(dataclasses.replace(request_, arch=arch)).settings_key

    (tmp_path / "copy.py").write_text("net.py")
    first = key("net.py")
    assert key("copy.py") == first != key("net.py", "Other")
    (tmp_path / "net.py").write_text("other code")
    assert key("net.py") != first
    with pytest.raises(DataError, match="cannot read the architecture"):
        key("missing.py")


@pytest.mark.parametrize("name", ["config.json", "clean-example-data/class_0_example_0.png",
                                  "example_data/1.png", "poisoned-example-data/1.png"])
def test_what_came_with_a_checkpoint_counts(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "id-00000000"
    beside = folder / name
    beside.parent.mkdir(parents=True)
    (folder / "model.pt").write_bytes(b"weights")
    beside.write_text("{}")
    keys = set()
    for checkpoint in (folder, folder / "model.pt"):
        request = ScanRequest(str(checkpoint), None, "run")
        keys.add(identify(request).settings_key)
    assert len(keys) == 1
    beside.write_text("[]")
    assert identify(ScanRequest(str(folder), None, "run")).settings_key not in keys


def test_a_file_that_hides_its_change_is_read_again(request_: ScanRequest) -> None:
    identifier, path = Identifier(), Path(request_.checkpoint)
    before, status = identifier.identify(request_), path.stat()
    path.write_text("MODEL.pth")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert identifier.identify(request_).sha256 == file_sha256(path) != before.sha256


def test_missing_files_are_named(request_: ScanRequest, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such file"):
        identify(dataclasses.replace(request_, checkpoint=str(tmp_path / "missing.pt")))
    with pytest.raises(DataError, match="cannot read images"):
        identify(dataclasses.replace(request_, clean=str(tmp_path / "missing.npz")))
