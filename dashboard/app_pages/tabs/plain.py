"""One page for a stakeholder."""

from __future__ import annotations

from dashboard import cache
from dashboard.app_pages.tabs.summary import preview
from dashboard.views import plain
from rnp_core import Job, ScanReport


def show(job: Job, report: ScanReport) -> None:
    """Draw the tab."""
    plain.render(job, report, preview(job, report), cache.engine().dispositions(job.id))
