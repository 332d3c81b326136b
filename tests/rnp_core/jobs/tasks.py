"""Tasks for child processes that stand in for a scan: they write a small true report at once."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rnp_core.errors import DataError
from rnp_core.manifest import file_sha256
from rnp_core.progress import OnProgress, Progress
from tests.helpers.reports import example_report


def scan(payload: Mapping[str, Any], on_progress: OnProgress, protection: object) -> dict[str, Any]:
    """Do what the checkpoint file says: JSON with ``seconds``, ``bytes``, ``end`` and ``score``."""
    request = payload["request"]
    checkpoint = weights(request)
    orders = json.loads(checkpoint.read_text())
    on_progress(Progress("load", 1, 1))
    steps = max(1, int(orders.get("seconds", 0) / 0.05))
    for step in range(steps):
        on_progress(Progress("unlearn", step + 1, steps, "", {"accuracy": 1 - step / steps}))
        time.sleep(orders.get("seconds", 0) / steps)
    bytearray(orders.get("bytes", 0))
    end = orders.get("end", "done")
    if end == "error":
        raise DataError("expected better images")
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    out = Path(request["out"])
    staging = out.parent / ".staging"
    staging.mkdir(parents=True)
    score = orders.get("score", 0.1)
    example = example_report()
    report = dataclasses.replace(
        example,
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        model=dataclasses.replace(example.model, sha256=file_sha256(checkpoint)),
        backdoor_score=score,
        verdict="backdoored" if score > 0.5 else "no_evidence",
    )
    (staging / "report.json").write_text(report.to_json())
    staging.replace(out)
    return {}


def weights(request: Mapping[str, Any]) -> Path:
    """The checkpoint file, or that in a folder of a TrojAI round."""
    path = Path(request["checkpoint"])
    return path / "model.pt" if path.is_dir() else path


def triage(
    payload: Mapping[str, Any], on_progress: OnProgress, protection: object
) -> dict[str, Any]:
    """The cheap evidence that the checkpoint file names as ``cheap``."""
    request = payload["request"]
    checkpoint = weights(request)
    orders = json.loads(checkpoint.read_text())
    out = Path(request["out"])
    out.mkdir(parents=True)
    sha256 = file_sha256(checkpoint)
    result = {"score": orders.get("cheap", 0.0), "labels": [], "sha256": sha256,
              "findings": orders.get("findings", [])}
    (out / "triage.json").write_text(json.dumps(result))
    return {}
