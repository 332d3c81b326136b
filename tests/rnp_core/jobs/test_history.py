"""Looking back: same checkpoint, filters, decisions, moving scans, migrations, bad places."""

from __future__ import annotations

import concurrent.futures
import json
import os
import sqlite3
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnp_core.errors import JobError
from rnp_core.jobs import EngineLimits, JobEngine
from rnp_core.jobs.database import Database
from rnp_core.jobs.recorded import recorded_scan
from rnp_core.jobs.schema import MIGRATIONS
from rnp_core.request import ScanRequest
from tests.rnp_core.jobs.conftest import MakeRequest, ended


@pytest.fixture
def finished(engine: JobEngine, make_request: MakeRequest) -> str:
    return ended(engine, engine.submit(make_request(score=0.9), title="a 100% <b>", tags=["x"])).id


def test_a_checkpoint_that_was_scanned_before_is_known(
    engine: JobEngine, make_request: MakeRequest, finished: str
) -> None:
    job = engine.job(finished)
    again = ScanRequest(job.request.checkpoint, job.request.clean, "run", threads=1)
    other = ScanRequest(job.request.checkpoint, job.request.clean, "run", preset="quick")
    assert [j.id for j in engine.find_scans(job.checkpoint_sha256)] == [finished]
    assert [j.id for j in engine.find_same(engine.identify(again))] == [finished]
    assert engine.find_same(engine.identify(other)) == []
    Path(str(job.request.clean)).write_bytes(b"other images")
    assert engine.find_same(engine.identify(again)) == []


def test_filters(engine: JobEngine, make_request: MakeRequest, finished: str) -> None:
    clean = ended(engine, engine.submit(make_request(), title="other", tags=["y", "z"])).id

    def ids(**options: object) -> list[str]:
        found = [job.id for job in engine.jobs(**options)]  # type: ignore[arg-type]
        assert engine.count(**options) == len(found)  # type: ignore[arg-type]
        return found

    assert ids() == [clean, finished]
    assert [j.id for j in engine.jobs(limit=1, offset=1)] == [finished]
    assert ids(tag="y") == ids(verdict="no_evidence") == ids(text="oth z") == [clean]
    assert ids(text="100%") == ids(tag="x") == ids(text="<b>") == [finished]
    assert ids(text="%") == [finished] and ids(text="_") == [] and ids(state="failed") == []
    sha256 = engine.job(clean).checkpoint_sha256
    assert ids(sha256=sha256[:10].upper()) == ids(text=sha256[:10]) == [clean]
    engine.set_tags(clean, [" new ", "", "new"])
    assert engine.job(clean).tags == ("new",)


def test_decisions_are_kept_with_name_note_and_time(engine: JobEngine, finished: str) -> None:
    engine.set_disposition(finished, "escalate", reviewer="Ada", note="look again")
    engine.set_disposition(finished, "confirmed", reviewer="Bob")
    assert [(d.disposition, d.reviewer, d.note) for d in engine.dispositions(finished)] == [
        ("escalate", "Ada", "look again"), ("confirmed", "Bob", ""),
    ]
    latest = engine.job(finished).disposition
    assert latest is not None and latest.reviewer == "Bob" and latest.time.endswith("+00:00")
    with pytest.raises(JobError, match="expected a decision"):
        engine.set_disposition(finished, "maybe", reviewer="Ada")  # type: ignore[arg-type]
    with pytest.raises(JobError, match="reviewer's name"):
        engine.set_disposition(finished, "confirmed", reviewer=" ")


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
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for member in source.namelist():
            if member != name:
                target.writestr(member, source.read(member))
        target.writestr(name, content)
    with pytest.raises(JobError, match=words):
        engine.import_run(bad)
    assert engine.count() == 0 and list((engine.home / "work").iterdir()) == []
    with pytest.raises(JobError, match="no exported scan"):
        engine.import_run(tmp_path / "clean.npz")


def test_the_table_migrates_from_the_first_version(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    Database(path).close()
    newer = (*MIGRATIONS, "ALTER TABLE owners ADD COLUMN note TEXT;")
    database = Database(path, migrations=newer)
    assert database.rows("PRAGMA user_version")[0][0] == len(newer)
    database.rows("SELECT note FROM owners")
    database.close()
    with pytest.raises(JobError, match="newer version of this program"):
        Database(path)
    broken = (*newer, "CREATE TABLE half (a); SELECT nonsense;")
    with pytest.raises(JobError):
        Database(path, migrations=broken)
    with sqlite3.connect(path) as table:
        assert table.execute("PRAGMA user_version").fetchone()[0] == len(newer)
        assert table.execute("SELECT * FROM sqlite_master WHERE name = 'half'").fetchall() == []


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"no table, " * 1000)
    with pytest.raises(JobError, match="move the file away"):
        JobEngine(tmp_path, run_jobs=False)


def test_ten_clients_submit_and_cancel_at_once(home: Path, make_request: MakeRequest) -> None:
    requests = [make_request() for _ in range(40)]

    def client(number: int) -> list[str]:
        with JobEngine(home, run_jobs=False) as engine:
            ids = [engine.submit(request) for request in requests[4 * number : 4 * number + 4]]
            for job_id in ids[1:]:
                engine.cancel(job_id)
            return ids

    with concurrent.futures.ThreadPoolExecutor(10) as clients:
        ids = [job_id for found in clients.map(client, range(10)) for job_id in found]
    with JobEngine(home, scheduler="direct") as engine:
        assert engine.count() == len(set(ids)) == 40
        assert engine.count(state="cancelled") == 30
        assert all(ended(engine, job_id).state == "done" for job_id in ids[::4])
        assert {e.message for e in engine.events(ids[1])} == {"queued", "cancelled"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_gives_a_clear_error_and_loses_nothing(
    small_disk: Path, make_request: MakeRequest
) -> None:
    with JobEngine(small_disk / "home", scheduler="direct",
                   limits=EngineLimits(free_bytes=1)) as engine:
        kept = ended(engine, engine.submit(make_request()))
        fill = small_disk / "fill"
        with fill.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"0" * 4096)
        with pytest.raises(JobError, match="full"):
            for _ in range(200):
                engine.submit(make_request(seconds=60))
        fill.unlink()
        assert engine.job(kept.id).state == "done"
        job_id = engine.submit(make_request())
        for job in engine.jobs(limit=1000):
            if job.id not in (job_id, kept.id):
                engine.cancel(job.id)
        assert ended(engine, job_id).state == "done"


def test_a_read_only_folder_gives_a_clear_error(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(JobError, match="choose another folder with --home"):
        JobEngine(small_disk / "home")


def test_a_home_that_cannot_be_used_stops_no_scan(
    tmp_path: Path, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    request = make_request()
    seen: list[ScanRequest] = []

    def plain(request: ScanRequest, **options: object) -> str:
        seen.append(request)
        return "report"

    monkeypatch.setattr("rnp_core.jobs.recorded.isolated_scan", plain)
    warnings: list[str] = []
    target = ScanRequest(request.checkpoint, request.clean, str(tmp_path / "out"))
    report = recorded_scan(target, home=tmp_path / "file" / "home", on_warning=warnings.append)
    assert (report, seen) == ("report", [target]) and "not recorded" in warnings[0]
    report = recorded_scan(target, home=tmp_path / "home", on_warning=warnings.append)
    assert report.verdict == "no_evidence" and len(seen) == len(warnings) == 1
    with JobEngine(tmp_path / "home", run_jobs=False) as engine:
        assert [job.run_folder for job in engine.jobs()] == [tmp_path / "out"]
