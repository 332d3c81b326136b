"""What becomes of the jobs of an engine that died."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from rnp_core.errors import JobError
from rnp_core.jobs import Job, JobEngine
from rnp_core.jobs.home import open_home
from rnp_core.jobs.owners import Owner, estate
from rnp_core.jobs.reaper import reap
from rnp_core.jobs.store import JobStore
from tests.rnp_core.jobs.conftest import MakeRequest
from tests.rnp_core.jobs.tasks import scan


def die_while_running(home: Path, make_request: MakeRequest, out: Path) -> JobEngine:
    """A history with a job that runs into ``out`` for an owner that is gone."""
    request = dataclasses.replace(make_request(score=0.9), out=str(out))
    engine = JobEngine(home, run_jobs=False)
    engine.run(request)
    store = engine._store
    owner = Owner(store)
    store.database.change(
        "UPDATE jobs SET state = 'running', owner = ?, verdict = NULL, started_at = ?",
        (owner.id, "2999-01-01T00:00:00.500+00:00"),
    )
    owner._lock.release()  # as the system does when the process ends
    return engine


def only(engine: JobEngine) -> Job:
    (job,) = engine.jobs()
    return job


def test_a_report_that_was_whole_makes_the_job_done(
    home: Path, make_request: MakeRequest, tmp_path: Path
) -> None:
    with die_while_running(home, make_request, tmp_path / "out") as engine:
        engine._store.database.change("UPDATE jobs SET started_at = '2020-01-01T00:00:00+00:00'")
        reap(engine._store)
        assert (only(engine).state, only(engine).verdict) == ("done", "backdoored")


def test_a_job_that_somebody_wanted_cancelled_is_not_called_interrupted(
    home: Path, make_request: MakeRequest, tmp_path: Path
) -> None:
    with die_while_running(home, make_request, tmp_path / "out") as engine:
        engine.cancel(only(engine).id)
        reap(engine._store)
        assert (only(engine).state, only(engine).error) == ("cancelled", "cancelled")


def test_an_earlier_report_in_the_folder_does_not(
    home: Path, make_request: MakeRequest, tmp_path: Path
) -> None:
    with die_while_running(home, make_request, tmp_path / "out") as engine:
        reap(engine._store)
        job = only(engine)
        assert job.state == "interrupted" and job.verdict is None
        assert f"process {os.getpid()}" in job.error and (tmp_path / "out/report.json").is_file()


def test_a_report_in_the_folder_of_the_attempt_is_taken(
    home: Path, make_request: MakeRequest, tmp_path: Path
) -> None:
    with die_while_running(home, make_request, tmp_path / "out") as engine:
        job = only(engine)
        attempt = home / "work" / job.id / "attempt-1" / "run"
        scan({"request": {**job.request.to_dict(), "out": str(attempt)}}, lambda p: None, None)
        engine._store.database.change("UPDATE jobs SET run_folder = ?", (f"runs/{job.id}",))
        reap(engine._store)
        assert only(engine).state == "done" and (home / "runs" / job.id / "report.json").is_file()
        assert list((home / "work").iterdir()) == []


def test_one_process_at_a_time_settles(home: Path) -> None:
    with JobEngine(home, run_jobs=False):
        store = JobStore(open_home(home))
        owner = Owner(store)
        with estate(store, owner.id) as jobs:
            assert jobs is None  # it lives
        owner._lock.release()
        with estate(store, owner.id) as jobs, estate(store, owner.id) as others:
            assert jobs == [] and others is None


def test_what_cannot_be_settled_now_is_left_for_later(
    home: Path, make_request: MakeRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise JobError("the disk is full")

    with die_while_running(home, make_request, tmp_path / "out") as engine:
        with monkeypatch.context() as patch:
            patch.setattr(JobStore, "finish", full)
            with pytest.raises(JobError):
                reap(engine._store)
        assert only(engine).state == "running"
        reap(engine._store)
        assert only(engine).state == "interrupted"
