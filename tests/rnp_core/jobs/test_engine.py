"""The life of a job: submitted, run in a child, followed, cancelled, resumed, deleted."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest

from rnp_core.errors import CheckpointError, ConfigError, DataError, JobError, ScanCancelled
from rnp_core.jobs import EngineLimits, JobEngine
from rnp_core.jobs.attempt import Order, Outcome
from rnp_core.jobs.dispatcher import _Running
from rnp_core.jobs.home import open_home
from rnp_core.jobs.quota import Quota
from rnp_core.request import ScanRequest
from tests.rnp_core.jobs.conftest import (
    MakeRequest,
    ended,
    reaches,
    until,
    until_scanning,
    within,
)


def test_a_job_runs_and_leaves_its_report(engine: JobEngine, make_request: MakeRequest) -> None:
    job_id = engine.submit(make_request(seconds=0.3, score=0.9), title="mine", tags=["a", "b", "a"])
    job = ended(engine, job_id)
    assert (job.state, job.error, job.fraction, job.attempts) == ("done", "", 1.0, 1)
    assert (job.verdict, job.backdoor_score, job.suspected_target_labels) == (
        "backdoored", 0.9, (1,),
    )
    assert (job.title, job.tags) == ("mine", ("a", "b"))
    assert job.run_folder == engine.home / "runs" / job_id
    assert (job.run_folder / "report.json").is_file()
    assert list((engine.home / "work").iterdir()) == []
    assert job.started_at is not None and job.created_at <= job.started_at < str(job.finished_at)


def test_events_can_be_followed_by_any_number_of_clients(
    engine: JobEngine, make_request: MakeRequest
) -> None:
    job_id = engine.submit(make_request(seconds=0.5))
    with JobEngine(engine.home, run_jobs=False) as other:
        ended(other, job_id)
        events = other.events(job_id)
    assert [e.message for e in events if e.stage == "job"] == ["queued", "running", "done"]
    assert [e.seq for e in events] == list(range(1, len(events) + 1))
    curve = [e.values["accuracy"] for e in events if e.stage == "unlearn"]
    assert len(curve) == 10 and curve == sorted(curve, reverse=True)  # type: ignore[type-var]
    assert engine.events(job_id, after=3) == events[3:]


@pytest.mark.parametrize(
    ("order", "words"),
    [("error", "expected better images"), ("killed", "killed by the system")],
)
def test_a_failure_is_reported_with_its_reason(
    engine: JobEngine, make_request: MakeRequest, order: str, words: str
) -> None:
    job_id = engine.submit(make_request(end=order))
    job = ended(engine, job_id)
    assert job.state == "failed" and words in job.error
    assert not job.run_folder.exists() and job.verdict is None


def test_a_running_job_is_cancelled_within_a_second(
    engine: JobEngine, make_request: MakeRequest
) -> None:
    def cancel() -> float:
        job_id = engine.submit(make_request(seconds=60))
        until_scanning(engine, job_id)
        with JobEngine(engine.home, run_jobs=False) as other:
            start = time.monotonic()
            other.cancel(job_id)
            job = ended(other, job_id)
            seconds = time.monotonic() - start
        assert job.state == "cancelled" and not job.run_folder.exists()
        return seconds

    within(1.0, cancel)


def test_the_queue_keeps_its_order(home: Path, make_request: MakeRequest) -> None:
    with JobEngine(home, run_jobs=False) as engine:
        first, second, urgent = (
            engine.submit(make_request(), priority=p) for p in (0.0, 0.0, 5.0)
        )
        assert [engine.position(i) for i in (first, second, urgent)] == [2, 3, 1]
        engine.cancel(first)
        assert engine.job(first).state == "cancelled" and engine.position(first) is None
        assert engine.position(second) == 2
    with JobEngine(home, scheduler="direct") as engine:
        assert ended(engine, second).state == "done"
        assert str(engine.job(urgent).started_at) < str(engine.job(second).started_at)
        engine.resume(first)
        assert ended(engine, first).attempts == 1


def test_only_what_ended_without_a_result_runs_again(
    engine: JobEngine, make_request: MakeRequest
) -> None:
    done, failed = engine.submit(make_request()), engine.submit(make_request(end="error"))
    assert (ended(engine, done).state, ended(engine, failed).state) == ("done", "failed")
    with pytest.raises(JobError, match="is done; only failed"):
        engine.resume(done)
    engine.resume(failed)
    until(lambda: (engine.job(failed).attempts, engine.job(failed).state) == (2, "failed"))


def test_a_closed_engine_leaves_its_job_interrupted(home: Path, make_request: MakeRequest) -> None:
    with JobEngine(home, scheduler="direct") as engine:
        running, waiting = engine.submit(make_request(seconds=30)), engine.submit(make_request())
        reaches(engine, running, "running")
    with JobEngine(home, run_jobs=False) as engine:
        job = engine.job(running)
        assert (job.state, job.error) == ("interrupted", "the program that ran it was closed")
        assert engine.job(waiting).state == "queued"


def test_a_result_that_cannot_be_moved_holds_nobody_else_up(
    engine: JobEngine, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two results at once: the first cannot be written yet, the second can."""
    recorded: list[str] = []
    stuck = [True]

    def record(store: object, order: Order, outcome: object, *, owner: str) -> None:
        if order.job == "first" and stuck[0]:
            raise JobError("the disk is full")
        recorded.append(order.job)

    monkeypatch.setattr("rnp_core.jobs.dispatcher.record_outcome", record)
    dispatcher = engine._dispatcher
    assert dispatcher is not None
    for name in ("first", "second"):
        order = Order(name, 1, "task", {}, "stages", None, 1.0)
        dispatcher._running[name] = _Running(order)
        dispatcher.answer(order, Outcome("done"))
    until(lambda: recorded == ["second"])
    until(lambda: engine.problem == "the disk is full")
    stuck[0] = False
    until(lambda: recorded == ["second", "first"])


def test_a_run_of_ones_own_is_recorded(home: Path, make_request: MakeRequest) -> None:
    request = make_request(score=0.7)
    out = home.parent / "results"
    seen: list[str] = []
    with JobEngine(home, run_jobs=False) as engine:
        job = engine.run(
            ScanRequest(request.checkpoint, request.clean, str(out)),
            on_progress=lambda p: seen.append(p.stage),
        )
        assert (job.state, job.run_folder, job.backdoor_score) == ("done", out, 0.7)
        assert seen == ["load", "unlearn"] and engine.jobs() == [job]
        engine.delete(job.id)
        assert out.is_dir() and engine.jobs() == []


def test_a_run_of_ones_own_stops_when_its_callback_says_so(
    home: Path, make_request: MakeRequest
) -> None:
    def stop(progress: object) -> None:
        raise ScanCancelled("enough")

    with JobEngine(home, run_jobs=False) as engine:
        request = make_request(seconds=30)
        with pytest.raises(ScanCancelled, match="enough"):
            engine.run(
                ScanRequest(request.checkpoint, request.clean, str(home / "x")), on_progress=stop
            )
        assert [job.state for job in engine.jobs()] == ["cancelled"]


def test_bad_requests_are_refused_at_once(engine: JobEngine, make_request: MakeRequest) -> None:
    good = make_request()
    with pytest.raises(CheckpointError, match="there is no such file"):
        engine.submit(ScanRequest("missing.pth", good.clean, "run"))
    with pytest.raises(DataError, match="cannot read images"):
        engine.submit(ScanRequest(good.checkpoint, "missing.npz", "run"))
    with pytest.raises(JobError, match="no job 'x'"):
        engine.cancel("x")
    assert engine.count() == 0


def test_a_full_queue_refuses(home: Path, make_request: MakeRequest) -> None:
    with JobEngine(home, run_jobs=False, limits=EngineLimits(queue_length=2)) as engine:
        engine.submit(make_request())
        engine.submit(make_request())
        with pytest.raises(JobError, match="2 jobs wait and at most 2 may"):
            engine.submit(make_request())


def test_the_quota_takes_work_files_and_never_reports(
    home: Path, make_request: MakeRequest
) -> None:
    with JobEngine(home, scheduler="direct") as engine:
        kept = ended(engine, engine.submit(make_request()))
    (home / "work" / "old").mkdir()
    (home / "work" / "old" / "big").write_bytes(bytes(3 << 20))
    with JobEngine(home, run_jobs=False, limits=EngineLimits(disk_bytes=2 << 20)) as engine:
        engine.submit(make_request())
        assert not (home / "work" / "old").exists()
    (kept.run_folder / "large.png").write_bytes(bytes(3 << 20))
    with JobEngine(home, run_jobs=False, limits=EngineLimits(disk_bytes=2 << 20)) as engine:
        with pytest.raises(JobError, match="delete scans, or raise the limit"):
            engine.submit(make_request())
        assert (kept.run_folder / "report.json").is_file()
        (kept.run_folder / "large.png").unlink()
        engine.submit(make_request())  # room that was made counts at once


def test_the_quota_takes_the_oldest_first_and_nothing_of_what_runs(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    for age, name in enumerate(("new", "running", "old", "older")):
        folder = home.work_folder(name)
        folder.mkdir()
        (folder / "stage").write_bytes(bytes(1 << 20))
        os.utime(folder, (1e9 - age, 1e9 - age))
    report = home.run_folder("done") / "report.json"
    report.parent.mkdir()
    report.write_bytes(bytes(1 << 20))
    quota = Quota(home, EngineLimits(disk_bytes=3 << 20), busy=lambda: {"running"})
    quota.check()
    assert {folder.name for folder in home.work.iterdir()} == {"new", "running"}
    assert report.is_file()


def test_a_nearly_full_disk_refuses(home: Path, make_request: MakeRequest) -> None:
    with (
        JobEngine(home, run_jobs=False, limits=EngineLimits(free_bytes=1 << 60)) as engine,
        pytest.raises(JobError, match="nearly full"),
    ):
        engine.submit(make_request())


def test_a_queue_that_is_full_stops_no_scan_that_does_not_wait(
    home: Path, make_request: MakeRequest
) -> None:
    with JobEngine(home, run_jobs=False, limits=EngineLimits(queue_length=1)) as engine:
        engine.submit(make_request())
        request = dataclasses.replace(make_request(), out=str(home.parent / "out"))
        assert engine.run(request).state == "done"


def test_a_job_has_limits_of_time_and_memory(home: Path, make_request: MakeRequest) -> None:
    limits = EngineLimits(job_seconds=2, job_memory_bytes=1 << 30)
    with JobEngine(home, scheduler="direct", limits=limits) as engine:
        slow, large = (engine.submit(make_request(**orders))
                       for orders in ({"seconds": 60}, {"bytes": 3 << 30}))
        job = ended(engine, slow)
        assert job.state == "failed" and "time limit of 2 s" in job.error
        job = ended(engine, large)
        assert job.state == "failed" and "raise the memory limit" in job.error
    with pytest.raises(ConfigError, match="memory limit of at least 1 GiB, got 0.5"):
        EngineLimits(job_memory_bytes=1 << 29)


def test_a_checkpoint_that_changed_meanwhile_is_not_taken_for_the_submitted_one(
    home: Path, make_request: MakeRequest
) -> None:
    request = make_request()
    with JobEngine(home, run_jobs=False) as engine:
        job_id = engine.submit(request)
        Path(request.checkpoint).write_text('{"score": 0.9}')
    with JobEngine(home, scheduler="direct") as engine:
        job = ended(engine, job_id)
    assert job.state == "failed" and "the checkpoint changed" in job.error
    assert job.verdict is None and not job.run_folder.exists()
