"""The table: migrations, full disks, read-only places."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnp_core.errors import JobError
from rnp_core.jobs import EngineLimits, JobEngine
from rnp_core.jobs.database import Database
from rnp_core.jobs.schema import MIGRATIONS
from tests.helpers.disks import filled, mounted
from tests.rnp_core.jobs.conftest import MakeRequest, ended


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


def test_a_home_of_the_first_version_opens_with_its_jobs(
    home: Path, make_request: MakeRequest
) -> None:
    home.mkdir()
    Database(home / "jobs.sqlite", migrations=MIGRATIONS[:1]).close()
    request = json.dumps(make_request().to_dict())
    with sqlite3.connect(home / "jobs.sqlite") as table:
        table.execute(
            "INSERT INTO jobs (id, title, kind, state, request, run_folder, created_at, "
            "checkpoint_sha256, checkpoint_name, settings_key, verdict, backdoor_score) "
            "VALUES ('old', 'old', 'scan', 'done', ?, 'runs/old', '2026-01-01T00:00:00+00:00', "
            "'0', 'm.pt', 'k', 'backdoored', 0.9)",
            (request,),
        )
    with JobEngine(home, scheduler="direct") as engine:
        job = engine.job("old")
        assert (job.state, job.verdict, job.file_severity) == ("done", "backdoored", "")
        assert ended(engine, engine.submit(make_request())).state == "done"


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"no table, " * 1000)
    with pytest.raises(JobError, match="move the file away"):
        JobEngine(tmp_path, run_jobs=False)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "small", "size=3m") as place:
        yield place


def test_a_full_disk_gives_a_clear_error_and_loses_nothing(
    small_disk: Path, make_request: MakeRequest
) -> None:
    with JobEngine(small_disk / "home", scheduler="direct",
                   limits=EngineLimits(free_bytes=1)) as engine:
        kept = ended(engine, engine.submit(make_request()))
        with filled(small_disk), pytest.raises(JobError, match="full"):
            for _ in range(200):
                engine.submit(make_request(seconds=60))
        assert engine.job(kept.id).state == "done"
        job_id = engine.submit(make_request())
        for job in engine.jobs(limit=1000):
            if job.id not in (job_id, kept.id):
                engine.cancel(job.id)
        assert ended(engine, job_id).state == "done"


def test_a_table_that_can_grow_no_more_gives_a_clear_error_and_goes_on_later(
    engine: JobEngine, make_request: MakeRequest
) -> None:
    kept = ended(engine, engine.submit(make_request()))
    database = engine._store.database
    pages = database.rows("PRAGMA page_count")[0][0]
    database.rows(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JobError, match="the disk is full; free some space"):
        for _ in range(50):
            engine.submit(make_request(seconds=60), title="x" * 4000)
    assert engine.job(kept.id) == kept
    database.rows("PRAGMA max_page_count = 1000000")
    for job in engine.jobs(state="queued") + engine.jobs(state="running"):
        engine.cancel(job.id)
    assert ended(engine, engine.submit(make_request())).state == "done"


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written; rights mean nothing to root, who mounts one instead."""
    place = tmp_path / "read-only"
    if os.geteuid() == 0:
        with mounted(place, "ro,size=1m"):
            yield place
        return
    place.mkdir(mode=0o500)
    yield place
    place.chmod(0o700)


def test_a_read_only_folder_gives_a_clear_error(
    read_only: Path, engine: JobEngine, finished: str
) -> None:
    with pytest.raises(JobError, match="choose another folder with --home"):
        JobEngine(read_only / "home")
    with pytest.raises(JobError, match="cannot write"):
        engine.export_run(finished, read_only / "scan.zip")


def test_a_table_that_became_read_only_says_so(engine: JobEngine, finished: str) -> None:
    engine._store.database.rows("PRAGMA query_only = 1")
    with pytest.raises(JobError, match="it is read-only"):
        engine.set_tags(finished, ["x"])
    assert engine.job(finished).tags == ("x",)
    engine._store.database.rows("PRAGMA query_only = 0")
