"""A scan in one file: carried to another machine, and not trusted there."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rnp_core.errors import JobError
from rnp_core.jobs import EngineLimits, JobEngine
from rnp_core.manifest import check_manifest, write_manifest


def test_a_scan_moves_between_machines(engine: JobEngine, finished: str, tmp_path: Path) -> None:
    engine.set_disposition(finished, "confirmed", reviewer="Ada", note="yes")
    archive = tmp_path / "scan.zip"
    engine.export_run(finished, archive)
    with JobEngine(tmp_path / "elsewhere", run_jobs=False) as other:
        assert other.import_run(archive) == finished
        here, there = engine.job(finished), other.job(finished)
        assert there.run_folder == other.home / "runs" / finished
        assert (there.verdict, there.backdoor_score, there.title, there.disposition) == (
            here.verdict, here.backdoor_score, here.title, here.disposition,
        )
        assert there.tags == ("imported", "x")
        report = "report.json"
        assert (there.run_folder / report).read_bytes() == (here.run_folder / report).read_bytes()
        with pytest.raises(JobError, match="is here already"):
            other.import_run(archive)
        other.delete(finished)
        assert other.count() == 0 and not there.run_folder.exists()


def test_the_signature_of_a_manifest_goes_along(
    engine: JobEngine, finished: str, tmp_path: Path
) -> None:
    folder = engine.job(finished).run_folder
    write_manifest(folder)
    (folder / "manifest.json.minisig").write_text("untrusted comment: signature")
    (folder / "notes.docx").write_bytes(b"not of a report")
    (folder / "link.png").symlink_to("/etc/passwd")
    engine.export_run(finished, tmp_path / "scan.zip")
    with JobEngine(tmp_path / "elsewhere", run_jobs=False) as other:
        there = other.job(other.import_run(tmp_path / "scan.zip")).run_folder
    assert {file.name for file in there.iterdir()} == {
        "report.json", "manifest.json", "manifest.json.minisig",
    }
    assert check_manifest(there).intact


def test_a_home_can_be_moved(engine: JobEngine, finished: str, tmp_path: Path) -> None:
    engine.export_run(finished, tmp_path / "scan.zip")
    with JobEngine(tmp_path / "old", run_jobs=False) as other:
        other.import_run(tmp_path / "scan.zip")
    (tmp_path / "old").rename(tmp_path / "new")
    with JobEngine(tmp_path / "new", run_jobs=False) as other:
        assert other.job(finished).run_folder == tmp_path / "new" / "runs" / finished
        assert (other.job(finished).run_folder / "report.json").is_file()


def rewrite(source: Path, target: Path, changes: Mapping[str, bytes]) -> None:
    """Write an archive again with other or further members."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        members = {name: before.read(name) for name in before.namelist()}
        for name, content in {**members, **changes}.items():
            after.writestr(name, content)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("run/../../evil.json", b"{}", "expected files of a report"),
        ("/etc/evil.json", b"{}", "expected files of a report"),
        ("run/evil.py", b"", "expected files of a report"),
        ("run\\evil.json", b"", "expected files of a report"),
        ("job.json", json.dumps({"format": "x"}).encode(), "expected a file of the format"),
    ],
)
def test_foreign_archives_are_refused(
    engine: JobEngine, finished: str, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    engine.export_run(finished, good)
    engine.delete(finished)
    rewrite(good, bad, {name: content})
    with pytest.raises(JobError, match=words):
        engine.import_run(bad)
    assert engine.count() == 0 and list((engine.home / "work").iterdir()) == []
    with pytest.raises(JobError, match="no exported scan"):
        engine.import_run(tmp_path / "clean.npz")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, "expected version 1"),
        ({"kind": "other"}, "expected a kind among"),
        ({"id": "../../evil"}, "expected hexadecimal digits as id"),
        ({"checkpoint_sha256": "0"}, "expected hexadecimal digits as checkpoint_sha256"),
        ({"title": 3}, "expected texts"),
        ({"tags": "abc"}, "expected texts"),
        ({"tags": [1]}, "expected texts"),
        ({"created_at": "yesterday"}, "no exported scan: Invalid isoformat"),
        ({"finished_at": {}}, "no exported scan: .*must be"),
        ({"request": {"checkpoint": "m"}}, "expected the fields of a scan request"),
        ({"request": []}, "no exported scan"),
        ({"dispositions": [{"disposition": "maybe"}]}, "no exported scan"),
        ({"dispositions": [{"disposition": "confirmed", "reviewer": [], "note": "",
                            "time": "2026-01-01"}]}, "expected texts in the decisions"),
    ],
)
def test_a_record_is_checked_value_by_value(
    engine: JobEngine, finished: str, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    engine.export_run(finished, good)
    engine.delete(finished)
    record = json.loads(zipfile.ZipFile(good).read("job.json"))
    rewrite(good, bad, {"job.json": json.dumps({**record, **changes}).encode()})
    with pytest.raises(JobError, match=words):
        engine.import_run(bad)
    assert engine.count(kind=None) == 0 and list((engine.home / "runs").iterdir()) == []
    assert engine.import_run(good) == finished


def test_a_damaged_or_cut_off_archive_is_refused(
    engine: JobEngine, finished: str, tmp_path: Path
) -> None:
    archive = tmp_path / "scan.zip"
    engine.export_run(finished, archive)
    engine.delete(finished)
    whole = archive.read_bytes()
    middle = len(whole) // 2
    for damaged in (whole[:middle], whole[:middle] + bytes(64) + whole[middle + 64 :], b""):
        archive.write_bytes(damaged)
        with pytest.raises(JobError, match="no exported scan"):
            engine.import_run(archive)
    assert list((engine.home / "work").iterdir()) == []


def test_an_import_respects_the_limits_of_the_home(
    engine: JobEngine, finished: str, tmp_path: Path
) -> None:
    engine.export_run(finished, tmp_path / "scan.zip")
    limits = EngineLimits(free_bytes=1 << 60)
    with (
        JobEngine(tmp_path / "elsewhere", run_jobs=False, limits=limits) as other,
        pytest.raises(JobError, match="nearly full"),
    ):
        other.import_run(tmp_path / "scan.zip")


def test_only_what_is_done_is_exported(engine: JobEngine, finished: str, tmp_path: Path) -> None:
    job = engine.job(finished)
    (job.run_folder / "report.json").unlink()
    with pytest.raises(JobError, match="the files of job .* are gone"):
        engine.export_run(finished, tmp_path / "scan.zip")
    assert not (tmp_path / "scan.zip").exists()
