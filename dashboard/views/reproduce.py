"""Command, seed, versions, hashes, settings of a scan."""

from __future__ import annotations

import shlex

import streamlit as st

from dashboard.wording import plain, size
from rnp_core import Job, ScanReport


def render(job: Job, report: ScanReport) -> None:
    """Everything that another reviewer needs."""
    st.header("Run the same scan again", anchor=False)
    st.markdown("Equal inputs, settings and versions give the same report, times and dates aside.")
    st.code(command(job), language=None, wrap_lines=True)
    left, right = st.columns(2, gap="large")
    model, data, environment = report.model, report.data, report.environment
    with left, st.container(gap="xxsmall"):
        st.subheader("Inputs", anchor=False)
        rows = [
            ("file", model.file_name or "in memory"), ("sha256", model.sha256 or "–"),
            ("size", size(model.size_bytes)), ("format", model.format or "–"),
            ("architecture", model.architecture),
            ("input", " × ".join(map(str, model.input_shape))),
            ("normalisation", model.normalization.source),
            ("clean images", f"{data.clean.count:,}"), ("clean sha256", data.clean.sha256),
        ]
        if data.suspects is not None:
            rows += [("suspects", f"{data.suspects.count:,}"),
                     ("suspects sha256", data.suspects.sha256)]
        _facts(rows)
    with right, st.container(gap="xxsmall"):
        st.subheader("Versions", anchor=False)
        rows = [("scanner", report.tool_version), ("seed", report.seed),
                ("preset", report.config.get("preset", "–")), ("scan id", job.id)]
        rows += [(str(name), value) for name, value in environment.items()
                 if not isinstance(value, dict)]
        _facts(rows)
    with st.expander("All settings", icon=":material/tune:"):
        st.json(report.config, expanded=1)
    if isinstance(environment.get("isolation"), dict):
        with st.expander("How the scan was confined", icon=":material/lock:"):
            st.json(environment["isolation"])


def command(job: Job) -> str:
    """The command line that does the same scan."""
    request = job.request
    parts = ["rnp", "scan", request.checkpoint, "--out", "NEW_FOLDER", "--preset", request.preset,
             "--seed", str(request.seed)]
    for option, value in (
        ("--clean", request.clean), ("--suspects", request.suspects), ("--arch", request.arch),
        ("--num-classes", request.num_classes),
        ("--mean", ",".join(map(str, request.mean)) if request.mean else None),
        ("--std", ",".join(map(str, request.std)) if request.std else None),
    ):
        if value is not None:
            parts += [option, str(value)]
    if request.normalization != "auto":
        parts += ["--normalization", request.normalization]
    if not request.repair:
        parts.append("--no-repair")
    if request.class_names:
        parts += ["--class-names", "NAMES_FILE"]
    return " ".join(shlex.quote(part) for part in parts)


def _facts(rows: list[tuple[str, object]]) -> None:
    for name, value in rows:
        left, right = st.columns([1, 2.6], gap="small", wrap=False)
        left.markdown(f":gray[{plain(name)}]")
        right.markdown(plain(value) if len(str(value)) < 40 else f"`{_code(str(value))}`")


def _code(text: str) -> str:
    return "".join(c if c.isprintable() and c != "`" else "?" for c in text)[:200]
