"""A home, files to scan, and engines that run stand-ins for scans."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rnp_core.jobs import FINAL_STATES, Job, JobEngine
from rnp_core.jobs.attempt import TASKS, Order
from rnp_core.progress import OnProgress
from rnp_core.request import ScanRequest
from tests.rnp_core.jobs import tasks

MakeRequest = Callable[..., ScanRequest]
ScanAtOnce = Callable[..., str]

PATIENCE = 90.0
"""Seconds until a state that has to come is given up; a busy machine takes its time."""


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


@pytest.fixture
def scan_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScanAtOnce:
    """Finishes a scan without a child process; gives its id."""
    numbers = itertools.count()

    def perform(order: Order, *, on_progress: OnProgress, **unused: object) -> None:
        tasks.scan({"request": order.request}, on_progress, None)

    def run(engine: JobEngine, request: ScanRequest, **options: Any) -> str:
        out = tmp_path / f"out-{next(numbers)}"
        with monkeypatch.context() as patch:
            patch.setattr("rnp_core.jobs.own_run.perform", perform)
            return engine.run(dataclasses.replace(request, out=str(out)), **options).id

    return run


@pytest.fixture
def finished(engine: JobEngine, make_request: MakeRequest, scan_at_once: ScanAtOnce) -> str:
    """Id of a scan that found a backdoor."""
    return scan_at_once(engine, make_request(score=0.9), title="a 100% <b>", tags=["x"])


def within(seconds: float, measure: Callable[[], float], *, tries: int = 4) -> None:
    """Expect that something takes less than ``seconds``, in the best of some tries: on a busy
    machine any single one may be late."""
    times: list[float] = []
    while not times or times[-1] >= seconds:
        assert len(times) < tries, times
        times.append(measure())


def until(holds: Callable[[], bool], *, problem: Callable[[], object] = lambda: "") -> None:
    """Wait for something that has to come."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, problem()
        time.sleep(0.02)


def until_scanning(engine: JobEngine, job_id: str) -> None:
    """Wait until the child of a stand-in is in the middle of its work."""
    until(
        lambda: engine.job(job_id).stage == "unlearn",
        problem=lambda: (engine.job(job_id), engine.problem),
    )


def ended(engine: JobEngine, job_id: str) -> Job:
    """The job once it has ended."""
    return reaches(engine, job_id, *FINAL_STATES)


def reaches(engine: JobEngine, job_id: str, *states: str) -> Job:
    """The job once it is in one of ``states``."""
    until(
        lambda: engine.job(job_id).state in states,
        problem=lambda: (engine.job(job_id), engine.problem),
    )
    return engine.job(job_id)
