"""One page for a stakeholder."""

from __future__ import annotations

from dashboard import cache
from dashboard.app_pages.tabs.summary import preview
from dashboard.views import plain
from rnp_core import Job, RunFolder


def show(job: Job, run: RunFolder) -> None:
    """Draw the tab."""
    plain.render(job, run.report, preview(run), cache.engine().dispositions(job.id))
