"""Filters: the mask map, the table, the prune slider, what drives a filter."""

from __future__ import annotations

import streamlit as st

from dashboard import cache, charts, state
from dashboard.views import frame, neurons
from dashboard.wording import READING
from rnp_core import Job, ScanReport


def show(job: Job, report: ScanReport) -> None:
    """Draw the tab."""
    st.header("Which filters did not come back", anchor=False)
    if not report.curves.filter_masks:
        frame.render_empty(":material/grain:", "No filter masks in this scan",
                           "The recovery stage did not run; see the stages in the summary.")
        return
    st.caption(READING["neurons"])
    _filters(job, report)
    if report.curves.prune_candidates:
        _pruning(report)
    pictures = [
        (row.method.removeprefix("filters:"), picture)
        for row in report.attributions
        if row.method.startswith("filters:")
        and (picture := cache.picture(job.run_folder, row.png)) is not None
    ]
    neurons.render_filter_pictures(pictures)
    repaired = cache.inside(job.run_folder, report.files.get("repaired_model"))
    neurons.render_repaired(report, repaired)


@st.fragment
def _filters(job: Job, report: ScanReport) -> None:
    """Map and table, linked both ways: the last one that was clicked decides."""
    listed = charts.filter_table(report)
    name = f"filter-{job.id}"
    keys = (f"map-{job.id}", f"table-{job.id}")
    chosen = state.get(name)
    picked = (
        neurons.point_of(state.get(keys[0])), neurons.row_of(state.get(keys[1])),
    )
    before = state.get(f"{name}-picked", (None, None))
    if picked != before:
        changed = picked[0] if picked[0] != before[0] else picked[1]
        chosen = changed if changed is None or changed < len(listed) else None
        state.put(name, chosen)
        state.put(f"{name}-picked", picked)
    neurons.render_map(report, listed, chosen, key=keys[0])
    neurons.render_table(listed, chosen, key=keys[1])


@st.fragment
def _pruning(report: ScanReport) -> None:
    neurons.render_prune_slider(report)
