"""A home, files to scan, and engines that run stand-ins for scans."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rnp_core.jobs import FINAL_STATES, Job, JobEngine
from rnp_core.jobs.attempt import TASKS
from rnp_core.request import ScanRequest

MakeRequest = Callable[..., ScanRequest]


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RNP_SCHEDULER", raising=False)
    for kind in ("scan", "triage"):
        monkeypatch.setitem(TASKS, kind, f"tests.rnp_core.jobs.tasks:{kind}")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def make_request(tmp_path: Path) -> MakeRequest:
    clean = tmp_path / "clean.npz"
    clean.write_bytes(b"images")
    numbers = itertools.count()

    def make(**orders: object) -> ScanRequest:
        number = next(numbers)
        path = tmp_path / f"model-{number}.json"
        path.write_text(json.dumps({**orders, "number": number}))
        return ScanRequest(str(path), str(clean), out="run")

    return make


@pytest.fixture
def engine(home: Path) -> Iterator[JobEngine]:
    with JobEngine(home, scheduler="direct") as made:
        yield made


def ended(engine: JobEngine, job_id: str, *, seconds: float = 20.0) -> Job:
    """The job once it has ended."""
    return reaches(engine, job_id, *FINAL_STATES, seconds=seconds)


def reaches(engine: JobEngine, job_id: str, *states: str, seconds: float = 20.0) -> Job:
    """The job once it is in one of ``states``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        job = engine.job(job_id)
        if job.state in states:
            return job
        time.sleep(0.02)
    raise AssertionError(f"still {job.state} ({engine.problem})")
