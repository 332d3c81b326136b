"""Scans while their child, Dask worker, scheduler and parent are killed at random moments."""

from __future__ import annotations

import collections
import json
import random
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from rnp_core.jobs import FINAL_STATES, Job, JobEngine
from rnp_core.report import ScanReport
from rnp_core.request import ScanRequest
from tests.helpers.processes import Programs

VICTIMS = ("child", "worker", "scheduler", "parent")


@dataclass
class KillRecord:
    """What happened: kills by victim, states that were seen after them, and the ended jobs."""

    kills: collections.Counter[str] = field(default_factory=collections.Counter)
    seen: collections.Counter[str] = field(default_factory=collections.Counter)
    slowest_report: float = 0.0
    jobs: list[Job] = field(default_factory=list)


class KillGround:
    """A home whose jobs run on a cluster of programs that get killed.

    Args:
        folder: for the home, logs and the scheduler's file.
        stand_ins: whether scans are played by :mod:`tests.rnp_core.jobs.tasks`.
    """

    def __init__(self, folder: Path, mark: str, *, stand_ins: bool, seed: int = 0) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.programs = Programs(mark, folder / "log.txt")
        self._random = random.Random(seed)
        self._stand_ins = ["--stand-ins"] if stand_ins else []
        self._port = self._random.randint(20000, 40000)
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[bytes]] = []
        self._parent: subprocess.Popen[bytes] | None = None

    def run(self, requests: Sequence[ScanRequest], *, kills: int, pause: float) -> KillRecord:
        """Scan everything, killing ``kills`` times about every ``pause`` seconds."""
        record = KillRecord()
        with JobEngine(self.home, run_jobs=False) as engine:
            ids = [engine.submit(request) for request in requests]
            next_kill = time.monotonic() + pause
            while True:
                self._keep_alive()
                states = [engine.job(job_id).state for job_id in ids]
                for job_id, state in zip(ids, states, strict=True):
                    if state in ("failed", "interrupted", "cancelled"):
                        record.seen[state] += 1
                        engine.resume(job_id)
                if all(state == "done" for state in states):
                    break
                if kills > sum(record.kills.values()) and time.monotonic() > next_kill:
                    victim = VICTIMS[sum(record.kills.values()) % len(VICTIMS)]
                    if self._kill(victim):
                        record.kills[victim] += 1
                        next_kill = time.monotonic() + pause * self._random.uniform(0.5, 1.5)
                time.sleep(0.05)
            record.jobs = [engine.job(job_id) for job_id in ids]
        return record

    def close(self) -> None:
        """Kill everything that is left."""
        self.programs.kill(self.programs.find())

    def _keep_alive(self) -> None:
        """Start again what was killed, as a supervisor would."""
        address = f"tcp://127.0.0.1:{self._port}"
        if self._scheduler is None or self._scheduler.poll() is not None:
            self._port += 1
            address = f"tcp://127.0.0.1:{self._port}"
            self._scheduler = self.programs.start(
                "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port",
                str(self._port), "--no-dashboard",
            )
            for old in (*self._workers, *([self._parent] if self._parent else [])):
                old.kill()
                old.wait()
            self._workers, self._parent = [], None
        self._workers = [worker for worker in self._workers if worker.poll() is None]
        if not self._workers:
            self._workers.append(self.programs.start(
                "-m", "distributed.cli.dask_worker", address, "--nworkers", "1", "--nthreads", "1",
                "--no-nanny", "--no-dashboard", "--death-timeout", "20", "--local-directory",
                str(self.folder),
            ))
        if self._parent is None or self._parent.poll() is not None:
            self._parent = self.programs.start(
                "-m", "tests.rnp_core.jobs.program", str(self.home), "--scheduler", address,
                *self._stand_ins,
            )

    def _kill(self, victim: str) -> bool:
        scans = self.programs.scans()
        if not scans:
            return False  # in the middle of a scan is where it hurts
        found: dict[str, list[psutil.Process]] = {
            "child": scans,
            "worker": self.programs.find("dask_worker"),
            "scheduler": self.programs.find("dask_scheduler"),
            "parent": self.programs.find("jobs.program"),
        }
        self.programs.kill(found[victim])
        return bool(found[victim])


def check_home(home: Path, jobs: Sequence[Job]) -> None:
    """Every job in a true state, whole reports, nothing half written, the table intact."""
    for job in jobs:
        assert job.state in FINAL_STATES
        text = (job.run_folder / "report.json").read_text(encoding="utf-8")
        report = ScanReport.from_dict(json.loads(text))
        assert (report.verdict, report.backdoor_score) == (job.verdict, job.backdoor_score)
    assert {path.name for path in (home / "runs").iterdir()} == {job.id for job in jobs}
    assert not list(home.rglob(".rnp-*")) and not list((home / "work").rglob("report.json"))
    with sqlite3.connect(home / "jobs.sqlite") as table:
        assert table.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert table.execute("PRAGMA foreign_key_check").fetchall() == []
        assert table.execute("SELECT count(*) FROM jobs WHERE owner IS NOT NULL").fetchone() == (0,)
