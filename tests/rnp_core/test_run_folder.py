"""Writing a run folder where something goes wrong: an earlier scan is never lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rnp_core.errors import ReportError
from rnp_core.run_folder import check_target, write_run
from tests.helpers.reports import example_report

STATE = {"weight": torch.ones(2, 2)}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def interrupt_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C when a file or folder called ``name`` is about to move."""
    replace = Path.replace

    def interrupted(source: Path, target: Path) -> Path:
        if source.name == name:
            monkeypatch.setattr(Path, "replace", replace)
            raise KeyboardInterrupt
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", interrupted)


@pytest.mark.parametrize("name", ["report.json", "old.png", "new.png", "manifest.json"])
def test_an_interrupt_brings_the_earlier_scan_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_run(tmp_path, example_report(), pictures={"old.png": b"old"}, repaired_state=STATE)
    before = contents(tmp_path)
    interrupt_at(name, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        write_run(
            tmp_path, example_report(), pictures={"new.png": b"new"}, repaired_state=STATE,
            force=True,
        )
    assert contents(tmp_path) == before
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_a_killed_process_leaves_the_earlier_scan_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path, example_report(), pictures={"old.png": b"old"}, repaired_state=STATE)
    before = contents(tmp_path)

    def killed(source: Path, target: Path) -> Path:
        raise SystemExit

    with monkeypatch.context() as patched:  # nothing can be moved back any more
        moved: list[Path] = []
        replace = Path.replace

        def until_new(source: Path, target: Path) -> Path:
            if source.name == "new.png":
                patched.setattr(Path, "replace", killed)
                raise SystemExit
            moved.append(source)
            return replace(source, target)

        patched.setattr(Path, "replace", until_new)
        with pytest.raises(SystemExit):
            write_run(
                tmp_path, example_report(), pictures={"new.png": b"new"}, repaired_state=STATE,
                force=True,
            )
    assert not (tmp_path / "report.json").exists()  # a reader sees no scan, not half of one
    (aside,) = tmp_path.glob(".rnp-earlier-*")
    assert contents(aside) == before
    with pytest.raises(ReportError, match=f"what was moved of the earlier one is in {aside.name}"):
        check_target(tmp_path, force=True)
    assert contents(aside) == before


def test_a_link_to_nothing_is_refused_before_the_scan(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(ReportError, match="link is a link to nothing"):
        check_target(tmp_path / "link", force=False)


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_run(tmp_path / "link", example_report(), pictures={}, repaired_state=STATE)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "report.json").is_file()


def test_lost_and_found_of_a_mount_point_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    for _ in range(2):
        write_run(tmp_path, example_report(), pictures={}, repaired_state=STATE, force=True)
        assert (tmp_path / "lost+found").is_dir()
        assert (tmp_path / "report.json").is_file()
