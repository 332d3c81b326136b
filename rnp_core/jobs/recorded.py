"""A scan of one's own that the history knows of, and that does not depend on the history."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rnp_core.errors import JobError, RnpError
from rnp_core.isolation import SCAN_LIMITS, IsolationLimits, isolated_scan, read_left_report
from rnp_core.jobs.engine import JobEngine
from rnp_core.jobs.types import EngineLimits
from rnp_core.progress import OnProgress, ignore_progress
from rnp_core.report import ScanReport
from rnp_core.request import ScanRequest


def recorded_scan(
    request: ScanRequest,
    *,
    home: Path,
    limits: IsolationLimits = SCAN_LIMITS,
    on_progress: OnProgress = ignore_progress,
    on_warning: Callable[[str], None] = lambda text: None,
) -> ScanReport:
    """Scan now in a child process, write ``request.out``, and record it in the home.

    Where the home cannot be used, the scan runs all the same.

    Args:
        on_warning: called with a sentence when the scan is not recorded.

    Raises:
        RnpError: see :func:`rnp_core.isolation.isolated_scan`.
    """
    bounds = EngineLimits(job_memory_bytes=limits.memory_bytes, job_seconds=limits.seconds)
    try:
        with JobEngine(home, run_jobs=False, limits=bounds) as engine:
            if _can_be_read(engine, request):
                engine.run(request, on_progress=on_progress)
                return read_left_report(Path(request.out))
    except JobError as error:
        on_warning(f"this scan is not recorded in the history: {error}")
    return isolated_scan(request, limits=limits, on_progress=on_progress)


def _can_be_read(engine: JobEngine, request: ScanRequest) -> bool:
    """Whether the files are there; where not, the scan itself says what is wrong."""
    try:
        engine.identify(request)
    except RnpError:
        return False
    return True
