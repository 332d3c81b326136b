"""What the child processes of jobs run; torch is imported in here only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnp_core.isolation.confine import Protection
from rnp_core.progress import OnProgress
from rnp_core.request import ScanRequest

_NICENESS = 10  # scans of a queue leave the processor to those who look at their results


def scan(
    payload: Mapping[str, Any], on_progress: OnProgress, protection: Protection
) -> dict[str, Any]:
    """Scan as ``payload["request"]`` says; finished stages are kept in ``payload["stages"]``."""
    from rnp_core.scan_file import scan_request

    _make_way()
    request = ScanRequest.from_dict(payload["request"])
    report = scan_request(
        request,
        environment={"isolation": protection.to_dict()},
        stages=Path(payload["stages"]),
        on_progress=on_progress,
    )
    return {"out": request.out, "verdict": report.verdict}


def triage(
    payload: Mapping[str, Any], on_progress: OnProgress, protection: Protection
) -> dict[str, Any]:
    """Collect the cheap evidence about ``payload["request"]`` and write ``triage.json``."""
    from rnp_core.jobs.triage import triage_request

    return triage_request(ScanRequest.from_dict(payload["request"]), on_progress=on_progress)


def _make_way() -> None:
    """Leave the processor to others; on Linux every session has a weight of its own too."""
    os.nice(_NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_NICENESS), encoding="ascii")
