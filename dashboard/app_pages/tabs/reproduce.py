"""Everything that is needed to run the same scan again."""

from __future__ import annotations

from dashboard.views import reproduce
from rnp_core import Job, RunFolder


def show(job: Job, run: RunFolder) -> None:
    """Draw the tab."""
    reproduce.render(job, run.report)
