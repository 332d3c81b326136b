"""The two tasks of the package with their own types."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rnp_core.errors import ReportError
from rnp_core.isolation.limits import INSPECT_LIMITS, SCAN_LIMITS, IsolationLimits
from rnp_core.isolation.run import run_isolated
from rnp_core.progress import OnProgress, ignore_progress
from rnp_core.report import ScanReport
from rnp_core.request import ScanRequest


def isolated_scan(
    request: ScanRequest,
    *,
    limits: IsolationLimits = SCAN_LIMITS,
    on_progress: OnProgress = ignore_progress,
    cancelled: Callable[[], bool] | None = None,
    on_start: Callable[[int], None] | None = None,
) -> ScanReport:
    """Scan a checkpoint in a child process; the run folder ``request.out`` is written by it.

    Raises:
        RnpError: see :func:`run_isolated` and :func:`rnp_core.scan_file.scan_checkpoint`.
    """
    run_isolated(
        "scan",
        request.to_dict(),
        limits=limits,
        on_progress=on_progress,
        cancelled=cancelled,
        on_start=on_start,
    )
    return read_left_report(Path(request.out))


def read_left_report(folder: Path) -> ScanReport:
    """The report that a child process left in its run folder, without importing torch.

    Raises:
        ReportError: when there is none that can be read.
    """
    path = folder / "report.json"
    try:
        return ScanReport.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ReportError(f"the scan left no readable report at {path}: {error}") from error


def isolated_inspect(
    path: Path | str,
    *,
    limits: IsolationLimits = INSPECT_LIMITS,
    read_limits: Sequence[str] = (),
    cancelled: Callable[[], bool] | None = None,
    on_start: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Inspect a checkpoint in a child process.

    ``read_limits`` are texts as for :func:`rnp_core.limit_options.parse_limits`.

    Returns:
        The fields of :meth:`rnp_core.checkpoints.Inspection.to_dict`, and ``"isolation"``.

    Raises:
        RnpError: see :func:`run_isolated` and :func:`rnp_core.checkpoints.inspect_checkpoint`.
    """
    return run_isolated(
        "inspect",
        {"path": str(path), "limits": list(read_limits)},
        limits=limits,
        cancelled=cancelled,
        on_start=on_start,
    )
