"""Ten programs that submit and cancel at once, while two others run what they submit.

Run with ``python -m pytest -m slow tests/slow/test_clients.py -s``.
"""

# ruff: noqa: T201  (figures for docs/fleet.md)

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from rnp_core.jobs import FINAL_STATES, JobEngine
from rnp_core.request import ScanRequest
from tests.helpers.processes import Programs

CLIENTS, SCANS = 10, 20
PATIENCE = 600.0


def client(home: Path, folder: Path, number: int) -> None:
    """Submit, and cancel every second scan a moment later: it waits, runs or is done by then."""
    moments = random.Random(number)
    slowest = 0.0
    with JobEngine(home, run_jobs=False) as engine:
        for scan in range(number * SCANS, (number + 1) * SCANS):
            start = time.monotonic()
            job_id = engine.submit(
                ScanRequest(str(folder / f"model-{scan}.json"), str(folder / "clean.npz"), "run"),
                tags=[f"client-{number}"],
            )
            if scan % 2:
                time.sleep(moments.uniform(0, 0.3))
                start = time.monotonic()
                engine.cancel(job_id)
            slowest = max(slowest, time.monotonic() - start)
    print(f"{slowest:.2f}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_programs_submit_and_cancel_at_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (tmp_path / "clean.npz").write_bytes(b"images")
    for number in range(CLIENTS * SCANS):
        orders = {"seconds": 0.1, "number": number}  # see tests.rnp_core.jobs.tasks
        (tmp_path / f"model-{number}.json").write_text(json.dumps(orders))
    programs = Programs(f"clients-{time.time_ns()}", tmp_path / "log.txt")
    try:
        for _ in range(2):
            programs.start("-m", "tests.rnp_core.jobs.program", str(home), "--scheduler", "direct",
                           "--stand-ins")
        command = [sys.executable, "-m", "tests.slow.test_clients", str(home), str(tmp_path)]
        clients = [
            subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE)
            for number in range(CLIENTS)
        ]
        slowest = [float(made.communicate(timeout=PATIENCE)[0]) for made in clients]
        assert all(made.returncode == 0 for made in clients)
        with JobEngine(home, run_jobs=False) as engine:
            end = time.monotonic() + PATIENCE
            while engine.count(state="queued") + engine.count(state="running"):
                assert time.monotonic() < end
                time.sleep(0.2)
            jobs = engine.jobs(limit=1000)
            changes = {
                job.id: [e.message for e in engine.events(job.id) if e.stage == "job"]
                for job in jobs
            }
    finally:
        programs.kill(programs.find())
    assert len(jobs) == CLIENTS * SCANS and all(job.state in FINAL_STATES for job in jobs)
    assert Counter(tag for job in jobs for tag in job.tags) == {
        f"client-{number}": SCANS for number in range(CLIENTS)
    }
    for job in jobs:
        assert changes[job.id] in (["queued", "running", job.state], ["queued", "cancelled"])
        assert (home / "runs" / job.id).exists() == (job.state == "done")
    wanted = {job.id for job in jobs if int(job.checkpoint_name[6:-5]) % 2}
    states = Counter(job.state for job in jobs)
    assert all(job.state == "done" for job in jobs if job.id not in wanted)
    with sqlite3.connect(home / "jobs.sqlite") as table:
        assert table.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    print(f"\n{CLIENTS} clients, {dict(states)}; slowest call {max(slowest):.2f} s")


if __name__ == "__main__":
    client(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
