"""Histories with finished and running scans in them, written without running one."""

from __future__ import annotations

import hashlib
import json
import secrets
import tempfile
import time
import zipfile
from pathlib import Path

from rnp_core import JobEngine, Progress, ScanRequest
from rnp_core.jobs.records import record_events


def add_scan(
    engine: JobEngine,
    run_folder: Path,
    *,
    title: str,
    sha256: str = "",
    seed: int = 0,
    tags: tuple[str, ...] = (),
    created_at: str = "2026-05-04T10:00:00+00:00",
    request: ScanRequest | None = None,
) -> str:
    """Take a run folder into the history as a finished scan; returns its id."""
    report = json.loads((run_folder / "report.json").read_text(encoding="utf-8"))
    request = request or ScanRequest.from_dict(report.get("request") or {
        "checkpoint": "/models/model.safetensors", "clean": "/models/clean.npz", "out": "run",
    })
    job_id = secrets.token_hex(8)
    record = {
        "format": "rnp-run", "version": 1, "id": job_id, "title": title, "kind": "scan",
        "request": {**request.to_dict(), "out": "run", "seed": seed},
        "created_at": created_at, "started_at": created_at, "finished_at": created_at,
        "checkpoint_sha256": sha256 or report["model"]["sha256"],
        "checkpoint_name": report["model"]["file_name"] or "model.safetensors",
        "settings_key": hashlib.sha256(str(seed).encode()).hexdigest(),
        "tags": list(tags), "dispositions": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "scan.zip"
        with zipfile.ZipFile(archive, "w") as target:
            target.writestr("job.json", json.dumps(record))
            for file in sorted(run_folder.rglob("*")):
                if file.is_file():
                    target.write(file, f"run/{file.relative_to(run_folder).as_posix()}")
        engine.import_run(archive)
    engine.set_tags(job_id, tags)
    return job_id


def begin(
    engine: JobEngine, job_id: str, *, stage: str = "recover", **values: float | list[float]
) -> None:
    """Make a waiting job one that somebody runs, with ``values`` in its latest report."""
    store = engine._store
    assert store.take(job_id, "somebody", "elsewhere")
    record_events(store, job_id, [(time.time(), Progress(stage, 9, 30, "", values))])


def fail(engine: JobEngine, job_id: str, error: str) -> None:
    """End a job of :func:`begin` without a result."""
    assert engine._store.finish(job_id, "failed", owner="somebody", error=error)
