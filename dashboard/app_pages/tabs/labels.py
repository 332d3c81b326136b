"""Evidence by label."""

from __future__ import annotations

from dashboard import state
from dashboard.views import frame, labels
from rnp_core import Job, RunFolder


def show(job: Job, run: RunFolder) -> None:
    """Draw the tab; the label in the address stands out."""
    report = run.report
    if not report.labels:
        frame.render_empty(":material/label:", "No evidence by label in this scan",
                           "The stage did not run; see the stages in the summary.")
        return
    known = [row.label for row in report.labels]
    chosen = state.whole("label", known)
    if chosen is None:
        suspected = report.suspected_target_labels
        chosen = suspected[0] if suspected else report.ranked_labels[0].label
    labels.render_choice(report, state.linked("label", chosen))
    labels.render_label(report, chosen)
    labels.render_curves(report, chosen)
    labels.render_table(report)
