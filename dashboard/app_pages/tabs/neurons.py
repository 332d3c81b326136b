"""Filters: the mask map, the table, the prune slider, what drives a filter."""

from __future__ import annotations

import streamlit as st

from dashboard import charts, state
from dashboard.maps import filter_pictures
from dashboard.views import frame, neurons
from dashboard.wording import READING
from rnp_core import Job, RunFolder, ScanReport


def show(job: Job, run: RunFolder) -> None:
    """Draw the tab."""
    report = run.report
    st.header("Which filters did not come back", anchor=False)
    if not report.curves.filter_masks:
        frame.render_empty(":material/grain:", "No filter masks in this scan",
                           "The recovery stage did not run; see the stages in the summary.")
        return
    st.caption(READING["neurons"])
    _filters(job, report)
    if report.curves.prune_candidates:
        _pruning(report)
    neurons.render_filter_pictures(report, filter_pictures(run))
    neurons.render_repaired(report, run.path(report.files.get("repaired_model")))


@st.fragment
def _filters(job: Job, report: ScanReport) -> None:
    """Map and table, linked both ways: the last one that was clicked decides."""
    listed = charts.filter_table(report)
    name = f"filter-{job.id}"
    chosen, seen, round_of_table = state.get(name, (None, (None, None), 0))
    keys = (f"map-{job.id}", f"table-{job.id}-{round_of_table}")
    point, row = neurons.point_of(state.get(keys[0])), neurons.row_of(state.get(keys[1]))
    if point not in (None, seen[0]) and point < len(listed):  # a new table, with this row picked
        chosen = row = point
        round_of_table += 1
        keys = (keys[0], f"table-{job.id}-{round_of_table}")
    elif row != seen[1]:
        chosen = row if row is None or row < len(listed) else None
    state.put(name, (chosen, (point, row), round_of_table))  # a map drawn anew forgets its point
    neurons.render_map(report, listed, chosen, key=keys[0])
    neurons.render_table(listed, chosen, key=keys[1])


@st.fragment
def _pruning(report: ScanReport) -> None:
    neurons.render_prune_slider(report)
