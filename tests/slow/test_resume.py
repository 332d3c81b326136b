"""A scan whose child was killed goes on where it stopped, and ends as if nothing had happened."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil
import pytest

from rnp_core.jobs import FINAL_STATES, JobEngine
from rnp_core.request import ScanRequest
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
