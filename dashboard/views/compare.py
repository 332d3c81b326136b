"""Two scans against each other: verdicts, numbers, triggers, labels, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.text import label_name, number, percent, plain, size, when
from dashboard.views.parts import job_title, link, plotly, reading, verdict_badge
from dashboard.wording import STATE_WORDS, VERDICT_SHORT
from rnp_core import Job, ScanReport


def render_choice(
    known: Mapping[str, Job], first: Mapping[str, Any], second: Mapping[str, Any]
) -> None:
    """Which two scans."""
    def name(job_id: str) -> str:
        job = known[job_id]
        return (f"{job.title[:50]} · {VERDICT_SHORT.get(job.verdict or '', job.state)} · "
                f"seed {job.request.seed} · {when(job.finished_at)}")

    left, right = st.columns(2)
    with left:
        st.selectbox("Scan A", list(known), format_func=name, **first)
    with right:
        st.selectbox("Scan B", list(known), format_func=name, **second)


def render_unfinished(job: Job) -> None:
    """For a scan of the address that has no result to compare."""
    name, icon, _ = STATE_WORDS[job.state]
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(f"{icon} **{job_title(job)}** is not finished ({name.lower()}), so it cannot "
                    "be compared.")
        link("live", "See how it stands", icon=":material/monitoring:", job=job.id)


def render_numbers(first: ScanReport, second: ScanReport) -> None:
    """The numbers of A and B, with the change from A."""
    with st.grid(4, min_column_width=230):
        _metric("Backdoor score", first.backdoor_score, second.backdoor_score)
        _metric("Accuracy, original", first.accuracy.clean_before, second.accuracy.clean_before,
                share=True)
        _metric("Accuracy, repaired", *(_if_repaired(r, r.accuracy.clean_after)
                                        for r in (first, second)), share=True)
        _metric("Flip rate of the trigger", *(_if_suspected(r, r.accuracy.flip_rate_before)
                                              for r in (first, second)), share=True)


def _if_repaired(report: ScanReport, value: float | None) -> float | None:
    return value if report.was_repaired else None


def _if_suspected(report: ScanReport, value: float | None) -> float | None:
    return value if report.accuses else None


def _metric(name: str, left: float | None, right: float | None, *, share: bool = False) -> None:
    shown = [percent(value, 1) if share else number(value) for value in (left, right)]
    change = None
    if left is not None and right is not None:
        change = f"{100 * (right - left):+.1f} points" if share else f"{right - left:+.2f}"
    st.metric(name, f"{shown[0]} → {shown[1]}" if shown[0] != shown[1] else shown[0], change,
              delta_color="off", delta_arrow="off", border=True, height="stretch")


def render_comparison(
    pair: Sequence[tuple[Job, ScanReport]], pictures: Sequence[Sequence[bytes]]
) -> None:
    """Verdict, reason and trigger of two scans side by side.

    Args:
        pair: (job, report) of each.
        pictures: for each, an image and the same with the recovered trigger, PNG; may be empty.
    """
    columns = st.columns(2)
    for column, (job, report), shown, sign in zip(columns, pair, pictures, "AB", strict=True):
        with column.container(border=True, height="stretch"):
            st.markdown(f"### :blue-badge[{sign}] {job_title(job)}", anchors=False)
            st.markdown(f"{verdict_badge(job.verdict, job.state)} "
                        f":gray[{plain(report.model.file_name or '')} · {job.request.preset}, "
                        f"seed {report.seed} · {when(report.created_at)}]")
            st.markdown(plain(report.verdict_reason, most=400))
            suspected = report.suspected_target_labels
            if suspected:
                label = label_name(suspected[0], report.model.class_names)
                st.markdown(f":gray[Suspected target label] **{plain(label)}**")
            if len(shown) >= 2:
                name = "with the recovered trigger" if suspected else "with the smallest trigger"
                with st.grid(3, min_column_width=110):
                    st.image(shown[0], width="stretch", caption="an image", alt="A clean image")
                    st.image(shown[1], width="stretch", caption=name, alt=f"The image {name}")
            st.caption(f"SHA-256 {plain(report.model.sha256 or '–')} · "
                       f"{size(report.model.size_bytes)} · version {plain(report.tool_version)}")
            link("verdict", "Open", icon=":material/shield:", scan=job.id)


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
