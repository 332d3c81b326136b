"""Command, seed, versions, hashes, settings of a scan."""

from __future__ import annotations

import streamlit as st

from dashboard.requests import command
from dashboard.text import code, plain, size
from rnp_core import Job, ScanReport


def render(job: Job, report: ScanReport) -> None:
    """Everything that another reviewer needs."""
    st.header("Run the same scan again", anchor=False)
    st.markdown("Equal inputs, settings and versions give the same report, times and dates aside.")
    st.code(command(job.request), language=None, wrap_lines=True)
    st.markdown("With the downloaded report, this also checks the hashes of the inputs and "
                "compares the result:")
    st.code("rnp scan --from-report report.json --out NEW_FOLDER", language=None, wrap_lines=True)
    with st.container(horizontal=True):
        st.download_button("report.json", report.to_json, file_name="report.json",
                           mime="application/json", icon=":material/data_object:",
                           on_click="ignore", key="report-json")
        if job.request.class_names:
            names = "\n".join(job.request.class_names) + "\n"
            st.download_button("NAMES_FILE", names, file_name="class-names.txt", on_click="ignore",
                               mime="text/plain", icon=":material/label:", key="names-file")
    left, right = st.columns(2, gap="medium")
    with left, st.container(gap="xxsmall"):
        st.subheader("Inputs", anchor=False)
        _facts(_inputs(report))
    with right, st.container(gap="xxsmall"):
        st.subheader("Versions", anchor=False)
        rows = [("scanner", report.tool_version), ("seed", report.seed),
                ("preset", report.config.get("preset", "–")), ("scan id", job.id)]
        rows += [(str(name), value) for name, value in report.environment.items()
                 if not isinstance(value, dict)]
        _facts(rows)
    with st.expander("All settings", icon=":material/tune:"):
        st.json(report.config, expanded=1)
    if isinstance(report.environment.get("isolation"), dict):
        with st.expander("How the scan was confined", icon=":material/lock:"):
            st.json(report.environment["isolation"])


def _inputs(report: ScanReport) -> list[tuple[str, object]]:
    model, data = report.model, report.data
    rows: list[tuple[str, object]] = [
        ("file", model.file_name or "in memory"), ("SHA-256", model.sha256 or "–"),
        ("size", size(model.size_bytes)), ("format", model.format or "–"),
        ("architecture", model.architecture), ("input", " × ".join(map(str, model.input_shape))),
        ("normalisation", model.normalization.source),
        ("clean images", f"{data.clean.count:,}"), ("their SHA-256", data.clean.sha256),
    ]
    if data.suspects is not None:
        rows += [("suspects", f"{data.suspects.count:,}"), ("their SHA-256", data.suspects.sha256)]
    return rows


def _facts(rows: list[tuple[str, object]]) -> None:
    for name, value in rows:
        left, right = st.columns([1, 2.6], gap="small", wrap=False)
        left.markdown(f":gray[{plain(name)}]")
        right.markdown(plain(value) if len(str(value)) < 40 else f"`{code(value)}`")
