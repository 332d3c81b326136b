"""Everything that is needed to run the same scan again."""

from __future__ import annotations

from dashboard.views import reproduce
from rnp_core import Job, ScanReport


def show(job: Job, report: ScanReport) -> None:
    """Draw the tab."""
    reproduce.render(job, report)
