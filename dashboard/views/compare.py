"""Two scans against each other: labels, settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.views.parts import plotly, reading
from dashboard.wording import VERDICT_SHORT, when
from rnp_core import Job, ScanReport


def render_choice(
    known: Mapping[str, Job], first: Mapping[str, Any], second: Mapping[str, Any]
) -> None:
    """Which two scans."""
    def name(job_id: str) -> str:
        job = known[job_id]
        return (f"{job.title[:50]} · {VERDICT_SHORT.get(job.verdict or '', job.state)} · "
                f"seed {job.request.seed} · {when(job.finished_at)}")

    left, right = st.columns(2, gap="large")
    with left:
        st.selectbox("Scan A", list(known), format_func=name, **first)
    with right:
        st.selectbox("Scan B", list(known), format_func=name, **second)


def render_evidence(first: ScanReport, second: ScanReport) -> None:
    """Scores by label of both scans."""
    st.header("Score by label", anchor=False)
    if first.model.num_classes != second.model.num_classes:
        st.caption("The two models have different classes; their labels cannot be compared.")
        return
    with st.container(border=True):
        plotly(charts.label_scores(first, second), key="compare-scores",
               alt="Score by label in both scans")
        reading("How to read it: if both scans point to the same label, the result is firm. After "
                "a repair the bar of the suspected label should be gone.")


def render_settings(table: pd.DataFrame) -> None:
    """Inputs, versions and settings that differ."""
    st.header("What differs", anchor=False)
    if table.empty:
        st.caption("Nothing: same file, images, settings and versions.")
        return
    st.dataframe(table, hide_index=True, alt="Inputs, versions and settings that differ",
                 height="content" if len(table) < 14 else 520,
                 column_config={"first": "scan A", "second": "scan B"})
