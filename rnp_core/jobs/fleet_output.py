"""The folder with what a fleet found, kept up to date while it runs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnp_core.errors import ReportError
from rnp_core.jobs.fleet_ranking import FleetRow, write_ranking

WRITE_SECONDS = 5.0
"""Files are written at most this often while the fleet runs, and at its end."""

_BUSY_SHARE = 0.25  # of the time that writing a large fleet may take


class FleetOutput:
    """``ranking.*`` and ``reports/`` of a fleet.

    Args:
        facts: about the fleet as a whole, for the JSON file.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self._folder = folder
        self._facts = facts
        self._next = 0.0

    def update(self, rows: Sequence[FleetRow]) -> None:
        """Write the ranking so far if it is time.

        Raises:
            ReportError: when the folder cannot be written.
        """
        start = time.monotonic()
        if start >= self._next:
            self.write(rows, complete=False)
            spent = time.monotonic() - start
            self._next = start + max(WRITE_SECONDS, spent / _BUSY_SHARE)

    def write(self, rows: Sequence[FleetRow], *, complete: bool) -> None:
        """Write the ranking and the reports that are not there yet.

        Args:
            complete: whether nothing will change any more.

        Raises:
            ReportError: when the folder cannot be written.
        """
        write_ranking(rows, self._folder, {**self._facts, "complete": complete})
        reports = self._folder / "reports"
        try:
            reports.mkdir(exist_ok=True)
            for row in rows:
                target = self._folder / row.report
                if row.report and not target.exists():
                    temporary = target.with_suffix(".new")
                    shutil.copyfile(Path(row.run_folder) / "report.json", temporary)
                    temporary.replace(target)
        except OSError as error:
            raise ReportError(f"cannot write reports to {reports}: {error.strerror}") from error
