"""A fleet of sixty tiny models on a cluster of three workers: one joins late, one is killed.

Run with ``python -m pytest -m slow tests/slow/test_fleet_cluster.py -s``; it prints the throughput
with one and with two workers. ``RNP_FLEET_MODELS`` changes the number of models.
"""

# ruff: noqa: T201  (figures for docs/fleet.md)

from __future__ import annotations

import collections
import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from rnp_core.jobs import JobEngine
from rnp_core.jobs.fleet import Fleet, FleetProgress
from rnp_core.jobs.fleet_models import find_models
from tests.helpers.kill_scans import free_port, is_alive
from tests.helpers.processes import Programs
from tests.helpers.tiny_files import write_clean, write_model

pytest.importorskip("distributed")

MODELS = int(os.environ.get("RNP_FLEET_MODELS", "60"))
SETTINGS = {"preset": "quick", "threads": 1}


def write_fleet(folder: Path, count: int) -> Path:
    """``count`` models in ``models/``; returns their clean images."""
    (folder / "models").mkdir()
    for number in range(count):
        write_model(folder / "models" / f"m{number:03d}.pt", seed=number)
    return write_clean(folder / "clean.npz")


class ComeAndGo:
    """Three workers: two from the start, a third once a sixth of the models is ranked; the first
    is killed in the middle of a scan once all have cheap evidence, which is no job of its own."""

    def __init__(self, folder: Path, address: str) -> None:
        self._folder = folder
        self._address = address
        self.programs = Programs(f"fleet-{time.time_ns()}", folder / "log.txt")
        port = address.rpartition(":")[2]
        self.programs.start("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1",
                            "--port", port, "--no-dashboard")
        self.workers = [self.start(), self.start()]
        self.victims: list[psutil.Process] = []

    def start(self) -> subprocess.Popen[bytes]:
        return self.programs.start(
            "-m", "distributed.cli.dask_worker", self._address, "--nthreads", "1", "--no-nanny",
            "--no-dashboard", "--local-directory", str(self._folder),
        )

    def __call__(self, progress: FleetProgress) -> None:
        if progress.triaged >= MODELS // 6 and len(self.workers) == 2:
            self.workers.append(self.start())
        if progress.triaged == MODELS and not self.victims:
            first = self.workers[0]
            self.victims = [scan for scan in self.programs.scans() if scan.ppid() == first.pid]
            if self.victims:
                first.kill()


@pytest.mark.slow
@pytest.mark.timeout(14400)
def test_workers_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As docs/fleet.md says, so that the engine and not Dask decides what runs again.
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    clean = write_fleet(tmp_path, MODELS)
    address = f"tcp://127.0.0.1:{free_port()}"
    cluster = ComeAndGo(tmp_path, address)
    start = time.monotonic()
    try:
        with JobEngine(tmp_path / "home", scheduler=address) as engine:
            models = find_models(tmp_path / "models")
            rows = Fleet(engine, models, SETTINGS, clean=clean, out=tmp_path / "out").run(cluster)
            jobs = engine.jobs(limit=1000)
        assert len(cluster.workers) == 3 and cluster.workers[0].poll() is not None
        assert cluster.victims and not any(is_alive(scan) for scan in cluster.victims)
    finally:
        cluster.programs.kill(cluster.programs.find())
    assert len(rows) == MODELS and all(row.evidence == "scan" for row in rows)
    assert {row.path for row in rows} == {str(model.path) for model in models}
    done = collections.Counter(job.checkpoint_sha256 for job in jobs if job.state == "done")
    assert len(jobs) == len(done) == MODELS and set(done.values()) == {1}
    again = [job for job in jobs if job.attempts > 1]
    assert again  # what the killed worker had
    print(f"\n{MODELS} models in {time.monotonic() - start:.0f} s; {len(again)} ran again")


@pytest.mark.slow
@pytest.mark.timeout(14400)
@pytest.mark.parametrize("workers", [1, 2])
def test_throughput(tmp_path: Path, workers: int) -> None:
    clean = write_fleet(tmp_path, 12)
    with JobEngine(tmp_path / "home", workers=workers) as engine:
        fleet = Fleet(engine, find_models(tmp_path / "models"), SETTINGS, clean=clean,
                      out=tmp_path / "out", triage_from=1000)
        start = time.monotonic()
        rows = fleet.run()
    seconds = time.monotonic() - start
    assert all(row.evidence == "scan" for row in rows)
    print(f"\n{workers} worker(s): {3600 * len(rows) / seconds:.0f} scans an hour")
