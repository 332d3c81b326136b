"""A scan whose child was killed, or whose disk was full, goes on where it stopped, and ends as if
nothing had happened."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil
import pytest

from rnp_core.jobs import FINAL_STATES, EngineLimits, JobEngine
from rnp_core.request import ScanRequest
from tests.helpers.disks import filled, mounted
from tests.helpers.tiny_files import write_clean, write_model

_DIFFERS = ("created_at", "stages", "request")  # times and places


def ended(engine: JobEngine, job_id: str) -> None:
    while engine.job(job_id).state not in FINAL_STATES:
        time.sleep(0.05)


def result_of(engine: JobEngine, job_id: str) -> dict[str, object]:
    report = json.loads((engine.job(job_id).run_folder / "report.json").read_text())
    return {name: value for name, value in report.items() if name not in _DIFFERS}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_finished_stages_are_not_repeated(tmp_path: Path) -> None:
    model, clean = write_model(tmp_path / "m.pt"), write_clean(tmp_path / "clean.npz")
    request = ScanRequest(str(model), str(clean), "run", preset="quick", threads=1)
    with JobEngine(tmp_path / "home", scheduler="direct") as engine:
        whole = engine.submit(request)
        ended(engine, whole)
        killed = engine.submit(request)
        while engine.job(killed).stage != "triggers":
            time.sleep(0.01)
        for child in psutil.Process().children():
            child.kill()
        ended(engine, killed)
        assert engine.job(killed).state == "failed"
        seen = engine.events(killed)[-1].seq
        engine.resume(killed)
        ended(engine, killed)
        assert engine.job(killed).state == "done" and engine.job(killed).attempts == 2
        stages = {event.stage for event in engine.events(killed, after=seen)}
        assert "triggers" in stages and not stages & {"unlearn", "recover"}
        assert result_of(engine, killed) == result_of(engine, whole)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_disk_that_fills_up_during_a_scan_is_named(tmp_path: Path) -> None:
    model, clean = write_model(tmp_path / "m.pt"), write_clean(tmp_path / "clean.npz")
    request = ScanRequest(str(model), str(clean), "run", preset="quick", threads=1)
    limits = EngineLimits(free_bytes=1)
    with (
        mounted(tmp_path / "small", "size=16m") as small,
        JobEngine(small / "home", scheduler="direct", limits=limits) as engine,
    ):
        job_id = engine.submit(request)
        while engine.job(job_id).stage != "triggers":
            time.sleep(0.01)
        with filled(small):
            while not engine.problem and engine.job(job_id).state not in FINAL_STATES:
                time.sleep(0.05)
            assert "full" in engine.problem or "space" in engine.job(job_id).error
        ended(engine, job_id)
        job = engine.job(job_id)
        assert job.state == "failed" and "No space left" in job.error
        assert not job.run_folder.exists() and not list((small / "home").rglob("report.json"))
        engine.resume(job_id)
        ended(engine, job_id)
        assert engine.job(job_id).state == "done"
