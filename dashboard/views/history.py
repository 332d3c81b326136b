"""Tables of scans, and two scans side by side."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard.charts import job_table, settings_difference
from dashboard.views.parts import job_title, verdict_badge
from dashboard.wording import label_name, number, percent, plain, when
from rnp_core import Job, ScanReport

_COLUMNS = {
    "score": st.column_config.ProgressColumn("score", min_value=0.0, max_value=1.0, format="%.2f"),
    "tags": st.column_config.ListColumn("tags"),
    "started": st.column_config.DatetimeColumn("started", format="D MMM YYYY, HH:mm"),
}


def render_table(jobs: Sequence[Job], *, key: str, most: int) -> list[Job]:
    """A table of scans; the selected ones, at most ``most``, in the order of the table."""
    chosen = st.dataframe(
        job_table(jobs), key=key, hide_index=True, width="stretch", column_config=_COLUMNS,
        on_select="rerun", selection_mode="single-row" if most == 1 else "multi-row",
    )
    rows = chosen["selection"]["rows"]
    return [jobs[row] for row in rows[:most] if row < len(jobs)]


def render_pair(first: tuple[Job, ScanReport], second: tuple[Job, ScanReport]) -> None:
    """Verdict and numbers of two scans in two columns, then the settings that differ."""
    for column, (job, report) in zip(st.columns(2, gap="large"), (first, second), strict=True):
        with column:
            st.markdown(f"{verdict_badge(report.verdict)} **{job_title(job)}**")
            st.caption(f"{plain(job.checkpoint_name)}, {when(job.created_at)}")
            st.markdown(plain(report.verdict_reason, most=500))
            st.link_button("Open", f"/verdict?scan={job.id}", icon=":material/shield:")
    rows = [_facts(report) for _, report in (first, second)]
    table = pd.DataFrame({"": list(rows[0]), "first": list(rows[0].values()),
                          "second": list(rows[1].values())})
    st.dataframe(table, hide_index=True, width="stretch")
    changed = settings_difference(first[1].config, second[1].config)
    if len(changed):
        st.markdown("**Settings that differ**")
        st.dataframe(changed, hide_index=True, width="stretch")
    else:
        st.caption("Both scans used the same settings.")


def _facts(report: ScanReport) -> dict[str, str]:
    accuracy = report.accuracy
    labels = [label_name(k, report.model.class_names) for k in report.suspected_target_labels]
    return {
        "backdoor score": number(report.backdoor_score),
        "suspected labels": ", ".join(labels) or "–",
        "accuracy before": percent(accuracy.clean_before, 1),
        "accuracy after removal": percent(accuracy.clean_after, 1),
        "flip rate before": percent(accuracy.flip_rate_before, 1),
        "flip rate after removal": percent(accuracy.flip_rate_after, 1),
        "pruned filters": str(len(report.pruned_filters)),
        "flagged samples": str(sum(row.flagged for row in report.samples)),
        "architecture": report.model.architecture,
        "checkpoint SHA-256": (report.model.sha256 or "–")[:16],
        "version": report.tool_version,
    }
