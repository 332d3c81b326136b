"""Files from browsers, and the server folder that must not be left."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

import pytest

from dashboard import uploads
from rnp_core import DataError


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("model.pt", "model.pt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\model.pt", "model.pt"),
        ("/", "file"),
        ("...", "file"),
        (".hidden", "hidden"),
        ("a\x00b\n.pt", "a_b_.pt"),
        ("<img src=x>.pt", "_img src_x_.pt"),
        ("x" * 500 + ".pt", "x" * 97 + ".pt"),
    ],
)
def test_names_lose_folders_and_signs(name: str, kept: str) -> None:
    assert uploads.safe_name(name) == kept


def test_an_upload_lies_under_its_digest(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10
    path, sha256 = uploads.store(io.BytesIO(data), "../x/model.pt", tmp_path / "uploads")
    assert sha256 == hashlib.sha256(data).hexdigest()
    assert path == tmp_path / "uploads" / sha256 / "model.pt"
    assert path.read_bytes() == data
    assert [p for p in (tmp_path / "uploads").iterdir() if p.name.startswith(".up-")] == []


def test_the_same_upload_twice_is_one_file(tmp_path: Path) -> None:
    first, _ = uploads.store(io.BytesIO(b"abc"), "a.pt", tmp_path)
    second, _ = uploads.store(io.BytesIO(b"abc"), "a.pt", tmp_path)
    assert first == second and len(list(tmp_path.iterdir())) == 1


def test_a_folder_becomes_an_archive_of_class_folders(tmp_path: Path) -> None:
    files = [("signs/stop/1.png", b"1"), ("signs/../../yield/2.png", b"2")]
    path = uploads.store_folder(files, tmp_path, most_megabytes=1)
    names = zipfile.ZipFile(path).namelist()
    assert "stop/1.png" in names
    assert all(".." not in name.split("/") and not name.startswith("/") for name in names)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder with pictures"):
        uploads.store_folder([], tmp_path, most_megabytes=1)


def test_a_folder_is_bounded_as_a_whole(tmp_path: Path) -> None:
    half = bytes(1 << 19)
    uploads.store_folder([("a/1.png", half), ("a/2.png", half)], tmp_path, most_megabytes=1)
    with pytest.raises(DataError, match="at most 1 MB, its pictures have 2 MB together"):
        uploads.store_folder([("a/1.png", half), ("a/2.png", half + b"0")], tmp_path,
                             most_megabytes=1)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A server folder with a link that leads out of it."""
    folder = tmp_path / "models"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.pt").touch()
    (folder / "deep" / "b.safetensors").touch()
    (folder / "notes.txt").touch()
    (tmp_path / "secret.pt").touch()
    (folder / "link.pt").symlink_to(tmp_path / "secret.pt")
    return folder.resolve()


def test_the_server_folder_lists_its_own_files(models: Path) -> None:
    found = uploads.listing(models, uploads.CHECKPOINT_SUFFIXES)
    assert found == uploads.Listing(["a.pt", "deep/b.safetensors"])
    assert uploads.listing(None, uploads.CHECKPOINT_SUFFIXES) == uploads.Listing([])


def test_a_list_that_stops_early_says_so(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_MOST_LISTED", 1)
    found = uploads.listing(models, uploads.CHECKPOINT_SUFFIXES)
    assert found == uploads.Listing(["a.pt"], is_whole=False)


def test_files_of_the_server_folder_may_be_used(models: Path) -> None:
    assert uploads.confine("deep/b.safetensors", models) == models / "deep" / "b.safetensors"


@pytest.mark.parametrize(
    "text",
    ["../secret.pt", "/etc/passwd", "link.pt", "deep/../../secret.pt", "nothing.pt", "a.pt\x00",
     "~/x", "x" * 10_000],
)
def test_the_server_folder_cannot_be_left(models: Path, text: str) -> None:
    with pytest.raises(DataError, match="inside the allowed server folder"):
        uploads.confine(text, models)


def test_without_a_server_folder_nothing_may_be_used() -> None:
    with pytest.raises(DataError, match="--models"):
        uploads.confine("a.pt", None)


@pytest.mark.parametrize(
    ("text", "values"), [("", None), (" ", None), ("0.5", (0.5,)), ("1, 2;3", (1.0, 2.0, 3.0))]
)
def test_numbers_with_commas(text: str, values: tuple[float, ...] | None) -> None:
    assert uploads.numbers(text) == values


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(DataError, match="expected numbers"):
        uploads.numbers("0.5, half")


def test_old_uploads_go_once_no_scan_needs_them(tmp_path: Path) -> None:
    used, _ = uploads.store(io.BytesIO(b"used"), "used.pt", tmp_path)
    old, _ = uploads.store(io.BytesIO(b"old"), "old.pt", tmp_path)
    fresh, _ = uploads.store(io.BytesIO(b"fresh"), "fresh.pt", tmp_path)
    for path in (used, old):
        os.utime(path.parent, (0, 0))
    assert uploads.tidy(tmp_path, keep=[str(used)]) == 1
    assert used.exists() and fresh.exists() and not old.exists()
    assert uploads.tidy(tmp_path / "nothing", keep=[]) == 0
