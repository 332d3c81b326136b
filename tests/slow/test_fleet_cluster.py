"""A fleet of sixty tiny models on a cluster of three workers: one joins late, one is killed.

Run with ``python -m pytest -m slow tests/slow/test_fleet_cluster.py -s``; it prints the throughput
with one and with two workers.
"""

from __future__ import annotations

import collections
import os
import time
from pathlib import Path

import pytest

from rnp_core.jobs import JobEngine
from rnp_core.jobs.fleet import Fleet, FleetProgress
from rnp_core.jobs.fleet_models import find_models
from rnp_core.request import ScanRequest
from tests.helpers.processes import Programs
from tests.helpers.tiny_files import write_clean, write_model

pytest.importorskip("distributed")

MODELS = int(os.environ.get("RNP_FLEET_MODELS", "60"))
ADDRESS = "tcp://127.0.0.1:18786"
WORKER = (
    "-m", "distributed.cli.dask_worker", ADDRESS, "--nthreads", "1", "--no-nanny", "--no-dashboard",
)


def write_fleet(folder: Path, count: int) -> ScanRequest:
    (folder / "models").mkdir()
    for number in range(count):
        write_model(folder / "models" / f"m{number:03d}.pt", seed=number)
    return ScanRequest("", str(write_clean(folder / "clean.npz")), "", preset="quick", threads=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_workers_come_and_go(tmp_path: Path) -> None:
    request = write_fleet(tmp_path, MODELS)
    programs = Programs(f"fleet-{time.time_ns()}", tmp_path / "log.txt")
    workers = []

    def come_and_go(progress: FleetProgress) -> None:
        if progress.triaged >= MODELS // 6 and len(workers) == 2:
            workers.append(programs.start(*WORKER, "--local-directory", str(tmp_path)))
        if progress.finished >= MODELS // 6 and workers[0].poll() is None:
            workers[0].kill()

    try:
        programs.start("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port",
                       "18786", "--no-dashboard")
        workers += [programs.start(*WORKER, "--local-directory", str(tmp_path)) for _ in range(2)]
        with JobEngine(tmp_path / "home", scheduler=ADDRESS) as engine:
            fleet = Fleet(engine, find_models(tmp_path / "models"), request, out=tmp_path / "out")
            rows = fleet.run(come_and_go)
            done = collections.Counter(job.checkpoint_sha256 for job in engine.jobs(limit=1000))
    finally:
        programs.kill(programs.find())
    assert len(workers) == 3 and workers[0].poll() is not None
    assert len(rows) == MODELS and all(row.evidence == "scan" for row in rows)
    assert len(done) == MODELS and set(done.values()) == {1}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("workers", [1, 2])
def test_throughput(tmp_path: Path, workers: int) -> None:
    request = write_fleet(tmp_path, 12)
    with JobEngine(tmp_path / "home", workers=workers) as engine:
        fleet = Fleet(engine, find_models(tmp_path / "models"), request, out=tmp_path / "out",
                      triage_from=1000)
        start = time.monotonic()
        rows = fleet.run()
    seconds = time.monotonic() - start
    assert all(row.evidence == "scan" for row in rows)
    print(f"\n{workers} worker(s): {3600 * len(rows) / seconds:.0f} scans an hour")  # noqa: T201
