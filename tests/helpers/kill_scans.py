"""Scans while their child, Dask worker, scheduler and parent are killed at random moments."""

from __future__ import annotations

import collections
import json
import random
import socket
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
LOCAL_VICTIMS = ("child", "worker", "parent")  # the scheduler lives in the parent
ORPHAN_SECONDS = 30.0
"""A scan that still runs so long after what ran it was killed is an orphan; much longer than the
second that it takes, because the machine may be busy."""


@dataclass
class KillRecord:
    """What happened: kills by victim, of them those in the middle of a scan, states that were seen
    after them, scans that outlived what ran them, and the ended jobs."""

    kills: collections.Counter[str] = field(default_factory=collections.Counter)
    during_scans: int = 0
    seen: collections.Counter[str] = field(default_factory=collections.Counter)
    orphans: list[str] = field(default_factory=list)
    slowest_end: float = 0.0
    jobs: list[Job] = field(default_factory=list)


class KillGround:
    """A home whose jobs run on programs that get killed.

    Args:
        folder: for the home and logs.
        stand_ins: whether scans are played by :mod:`tests.rnp_core.jobs.tasks`.
        local: whether the engine starts its own cluster; otherwise scheduler and worker are
            programs as well.
    """

    def __init__(
        self, folder: Path, mark: str, *, stand_ins: bool, local: bool = False, seed: int = 0
    ) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.programs = Programs(mark, folder / "log.txt")
        self._random = random.Random(seed)
        self._stand_ins = ["--stand-ins"] if stand_ins else []
        self._local = local
        self._address = f"tcp://127.0.0.1:{free_port()}"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._doomed: dict[psutil.Process, float] = {}  # scans whose end is due since then

    def run(self, requests: Sequence[ScanRequest], *, kills: int, pause: float) -> KillRecord:
        """Scan everything, killing ``kills`` times, spread over all scans: each at a random moment
        within ``pause`` seconds after its share of the scans has finished."""
        record = KillRecord()
        with JobEngine(self.home, run_jobs=False) as engine:
            ids = [engine.submit(request) for request in requests]
            next_kill: float | None = None
            while True:
                self._keep_alive()
                self._watch_doomed(record)
                states = engine.states(ids)
                for job_id, state in states.items():
                    if state in ("failed", "interrupted", "cancelled"):
                        record.seen[state] += 1
                        engine.resume(job_id)
                done = list(states.values()).count("done")
                if done == len(ids):
                    break
                made = sum(record.kills.values())
                due = made < kills and done >= 0.9 * len(ids) * made / kills
                if next_kill is None and due:
                    next_kill = time.monotonic() + self._random.uniform(0, pause)
                now = time.monotonic()
                if next_kill is not None and now > next_kill and self._kill(made, record):
                    next_kill = None
                time.sleep(0.05)
            record.jobs = [engine.job(job_id) for job_id in ids]
        return record

    def stop(self) -> None:
        """Kill what was started here; what that started has to end by itself."""
        for program in self._running.values():
            program.kill()
            program.wait()

    def close(self) -> None:
        """Kill everything that is left."""
        self.programs.kill(self.programs.find())

    def _keep_alive(self) -> None:
        """Start again what ended, as a supervisor would; each finds the others by itself."""
        port = self._address.rpartition(":")[2]
        parent = ("-m", "tests.rnp_core.jobs.program", str(self.home), *self._stand_ins)
        commands = (
            {"parent": parent}
            if self._local
            else {
                "scheduler": (
                    "-m",
                    "distributed.cli.dask_scheduler",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    port,
                    "--no-dashboard",
                ),
                "worker": (
                    "-m",
                    "distributed.cli.dask_worker",
                    self._address,
                    "--nworkers",
                    "1",
                    "--nthreads",
                    "1",
                    "--no-nanny",
                    "--no-dashboard",
                    "--local-directory",
                    str(self.folder),
                ),
                "parent": (*parent, "--scheduler", self._address),
            }
        )
        for name, command in commands.items():
            program = self._running.get(name)
            if program is None or program.poll() is not None:
                self._running[name] = self.programs.start(*command)

    def _kill(self, number: int, record: KillRecord) -> bool:
        """Kill the next victim; what comes and goes only while it is there."""
        victims = LOCAL_VICTIMS if self._local else VICTIMS
        victim = victims[number % len(victims)]
        scans = self.programs.scans()
        if victim == "child":
            if not scans:
                return False
            self.programs.kill(scans)
        elif victim not in self._running:  # the engine's own worker
            workers = self.programs.find("multiprocessing.spawn")
            if not workers:
                return False
            self.programs.kill(workers)
            self._doomed.update(dict.fromkeys(scans, time.monotonic()))
        else:
            self._running[victim].kill()
            self._doomed.update(dict.fromkeys(scans, time.monotonic()))
        record.kills[victim] += 1
        record.during_scans += bool(scans)
        return True

    def _watch_doomed(self, record: KillRecord) -> None:
        """Whether scans end with what ran them."""
        for process, since in list(self._doomed.items()):
            seconds = time.monotonic() - since
            if not is_alive(process):
                record.slowest_end = max(record.slowest_end, seconds)
            elif seconds > ORPHAN_SECONDS:
                record.orphans.append(f"{process} {seconds:.0f} s after its end was due")
            else:
                continue
            del self._doomed[process]


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; one that nobody has reaped yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
