"""``kill -9`` of the child, the worker, the scheduler and the parent; the long version of the last
test is ``tests/slow/test_kills.py``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rnp_core.jobs import JobEngine
from tests.helpers.kill_scans import KillGround, check_home, is_alive
from tests.helpers.processes import Programs
from tests.rnp_core.jobs.conftest import (
    PATIENCE,
    MakeRequest,
    ended,
    reaches,
    until_scanning,
    within,
)

pytest.importorskip("distributed")


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    made = Programs(tmp_path.name + str(time.time_ns()), tmp_path / "log.txt")
    yield made
    made.kill(made.find())


def scan_children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if is_scan_child(p)]


def is_scan_child(process: psutil.Process) -> bool:
    try:
        return "rnp_core.isolation.child" in " ".join(process.cmdline())
    except psutil.Error:  # it has just ended
        return False


def test_on_a_local_cluster(home: Path, make_request: MakeRequest) -> None:
    """Cancel within a second, a killed child within two, a killed worker without an orphan."""
    with JobEngine(home) as engine:
        def scanning() -> tuple[str, psutil.Process]:
            job_id = engine.submit(make_request(seconds=60))
            until_scanning(engine, job_id)
            (child,) = scan_children()
            return job_id, child

        def cancel() -> float:
            job_id, child = scanning()
            start = time.monotonic()
            engine.cancel(job_id)
            assert ended(engine, job_id).state == "cancelled"
            assert not is_alive(child)
            return time.monotonic() - start

        def kill_child() -> float:
            job_id, child = scanning()
            start = time.monotonic()
            child.kill()
            job = ended(engine, job_id)
            assert job.state == "failed" and "killed by the system" in job.error
            return time.monotonic() - start

        assert ended(engine, engine.submit(make_request())).state == "done"
        within(1.0, cancel)
        within(2.0, kill_child)

        job_id, child = scanning()
        psutil.Process(child.ppid()).kill()
        job = ended(engine, job_id)
        assert job.state == "interrupted" and "worker" in job.error
        psutil.wait_procs([child], PATIENCE)
        assert not is_alive(child)

        engine.submit(make_request(seconds=0.1))
        engine.resume(job_id)
        engine.cancel(job_id)
        (last,) = engine.jobs(limit=1)
        assert ended(engine, last.id).state == "done"


def test_a_killed_parent_leaves_an_interrupted_job_and_no_orphan(
    home: Path, make_request: MakeRequest, programs: Programs
) -> None:
    parent = programs.start("-m", "tests.rnp_core.jobs.program", str(home), "--stand-ins")
    with JobEngine(home, run_jobs=False) as engine:
        job_id, waiting = engine.submit(make_request(seconds=60)), engine.submit(make_request())
        until_scanning(engine, job_id)
        parent.kill()
        parent.wait()
        assert programs.all_gone(seconds=PATIENCE)
    with JobEngine(home, scheduler="direct") as engine:
        job = engine.job(job_id)
        assert job.state == "interrupted" and f"process {parent.pid}" in job.error
        assert ended(engine, waiting).state == "done"


def test_every_job_ends_though_everything_gets_killed(
    tmp_path: Path, make_request: MakeRequest
) -> None:
    ground = KillGround(tmp_path / "ground", f"quick-{time.time_ns()}", stand_ins=True)
    ground.folder.mkdir()
    try:
        record = ground.run([make_request(seconds=0.6) for _ in range(8)], kills=4, pause=1.0)
        ground.stop()
        assert ground.programs.all_gone(seconds=PATIENCE)
    finally:
        ground.close()
    assert set(record.kills) == {"child", "worker", "scheduler", "parent"}
    assert record.orphans == []
    check_home(ground.home, record.jobs)


def test_two_engines_share_one_machine(home: Path, make_request: MakeRequest) -> None:
    with JobEngine(home, scheduler="direct") as one, JobEngine(home, scheduler="direct") as two:
        ids = [engine.submit(make_request(seconds=0.2)) for engine in (one, two, one, two)]
        jobs = [reaches(one, job_id, "done") for job_id in ids]
    spans = sorted((str(job.started_at), str(job.finished_at)) for job in jobs)
    assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
    assert [job.attempts for job in jobs] == [1] * 4
