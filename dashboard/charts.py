"""Values to data frames and Plotly figures. No Streamlit in here.

All figures share one look, :data:`COLOURS` and :func:`_figure`; text and grid colours are left to
the page's theme, so that a figure follows when the theme is switched. The colours have a contrast
of at least 3:1 on the light and on the dark background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.wording import (
    DISPOSITIONS,
    SEVERITIES,
    STATE_WORDS,
    VERDICT_SHORT,
    VERDICT_SIGNS,
    chart_text,
    label_name,
)
from rnp_core import Job, ScanReport

COLOURS = (
    "#3A7CC4", "#D4722B", "#1E9384", "#8A63C2", "#C9485B",
    "#A1892B", "#5B6B7B", "#3F93C8", "#B0629B", "#6C9A3F",
)
"""Categorical colours, the same as ``chartCategoricalColors`` of the theme."""

QUIET = "#8A96A3"
ACCENT = COLOURS[1]
CALM = COLOURS[0]
VERDICT_COLOURS = {
    "backdoored": "#C9485B",
    "suspicious": "#D4722B",
    "no_evidence": "#1E9384",
    "inconclusive": "#8A63C2",
    "error": "#7C8894",
}
MASK_SCALE = (
    (0.0, "#D4722B"), (0.15, "#E9B68A"), (0.5, "#C7D3DA"), (0.85, "#7FAAD4"), (1.0, "#2C69AC"),
)
"""Mask value 0 (did not come back) to 1 (came back)."""

MOST_LISTED_FILTERS = 50


def _stripes(shapes: object) -> dict[str, object]:
    """A pattern on top of the colour, so that colour is not the only sign."""
    return {"shape": shapes, "fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.75)",
            "size": 7, "solidity": 0.25}


def _figure(height: int, *, x: str = "", y: str = "", legend: bool = False) -> go.Figure:
    """An empty figure in the common look, with axis titles."""
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 4, "r": 4, "t": 16, "b": 4},
        colorway=list(COLOURS),
        showlegend=legend,
        legend={"orientation": "h", "y": 1.12, "x": 0, "title": None},
        hovermode="closest",
        dragmode=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        uirevision="keep",
    )
    figure.update_xaxes(title=x or None, zeroline=False, fixedrange=True, automargin=True)
    figure.update_yaxes(title=y or None, zeroline=False, fixedrange=True, automargin=True)
    return figure


# --- curves ------------------------------------------------------------------------------------


def accuracy_curve(values: Sequence[float], *, stop: float | None = None) -> go.Figure:
    """Accuracy by step; ``stop`` is where unlearning ends."""
    figure = _figure(230, x="step", y="accuracy")
    figure.add_scatter(
        x=list(range(1, len(values) + 1)), y=list(values), mode="lines", name="accuracy",
        line={"color": CALM, "width": 2.5}, hovertemplate="step %{x}: %{y:.2f}<extra></extra>",
    )
    if stop is not None:
        figure.add_hline(
            y=stop, line={"color": QUIET, "dash": "dot"}, annotation_text="stops here",
            annotation_position="top right",
        )
    figure.update_yaxes(range=[-0.03, 1.05])
    return figure


def share_curves(
    shares: Sequence[Sequence[float]], names: list[str], *, chosen: Sequence[int] = (),
    most: int = 6, height: int = 300,
) -> go.Figure:
    """Share of answers by label while unlearning; ``chosen`` labels stand out."""
    figure = _figure(height, x="unlearning step", y="share of answers", legend=True)
    table = np.asarray(shares, float)
    if table.ndim != 2 or not table.size:
        return figure
    leading = list(dict.fromkeys([*chosen, *np.argsort(-table[-1], kind="stable").tolist()]))
    steps = list(range(1, len(table) + 1))
    for label in range(table.shape[1]):
        if label in leading[:most]:
            continue
        figure.add_scatter(
            x=steps, y=table[:, label], mode="lines", line={"color": QUIET, "width": 1},
            opacity=0.35, hoverinfo="skip", showlegend=False,
        )
    for place, label in enumerate(leading[:most]):
        name = chart_text(label_name(label, names))
        strong = label in chosen or (not chosen and place == 0)
        figure.add_scatter(
            x=steps, y=table[:, label], mode="lines", name=name,
            line={
                "width": 3.5 if strong else 1.6,
                "color": ACCENT if strong and place == 0 else COLOURS[(0, 2, 3, 5, 6, 7)[place]],
                "dash": "solid" if strong else ("dash", "dot", "dashdot")[place % 3],
            },
            hovertemplate=f"{name}<br>step %{{x}}: %{{y:.2f}}<extra></extra>",
        )
    figure.update_yaxes(range=[-0.03, 1.05])
    return figure


def mask_histogram(counts: Sequence[float]) -> go.Figure:
    """Filters by mask value, in equal steps from 0 to 1."""
    figure = _figure(230, x="mask value", y="filters")
    edges = np.linspace(0, 1, len(counts) + 1)
    figure.add_bar(
        x=(edges[:-1] + edges[1:]) / 2, y=list(counts), width=0.92 / max(1, len(counts)),
        marker={"color": [ACCENT if edge < 0.2 else CALM for edge in edges[:-1]]},
        hovertemplate="mask %{x:.2f}: %{y:.0f} filters<extra></extra>",
    )
    figure.update_xaxes(range=[-0.02, 1.02])
    return figure


def trigger_sizes(sizes: Sequence[float], names: list[str]) -> go.Figure:
    """Sizes of the triggers so far, a bar a label."""
    figure = _figure(230, x="label", y="trigger size")
    order = np.argsort(sizes, kind="stable")
    smallest = int(order[0]) if len(sizes) else -1
    figure.add_bar(
        x=[chart_text(label_name(i, names), most=18) for i in range(len(sizes))], y=list(sizes),
        marker={"color": [ACCENT if i == smallest else CALM for i in range(len(sizes))]},
        hovertemplate="label %{x}: %{y:.1f}<extra></extra>",
    )
    return figure


# --- verdict -----------------------------------------------------------------------------------


def calibration_strip(
    score: float, *, suspicious: float, backdoored: float,
    known: Sequence[tuple[float, str, str]] = (),
) -> go.Figure:
    """Where a score lies between the thresholds and among known models.

    Args:
        known: (score, "clean" or "backdoored", name) of each known model.
    """
    figure = _figure(150 if known else 120)
    bands = (
        (0.0, suspicious, VERDICT_COLOURS["no_evidence"], "no evidence"),
        (suspicious, backdoored, VERDICT_COLOURS["suspicious"], "suspicious"),
        (backdoored, 1.0, VERDICT_COLOURS["backdoored"], "backdoored"),
    )
    for low, high, colour, name in bands:
        figure.add_vrect(x0=low, x1=high, fillcolor=colour, opacity=0.13, line_width=0,
                         layer="below")
        figure.add_annotation(x=(low + high) / 2, y=1.0, yref="paper", yanchor="bottom",
                              text=name, showarrow=False, font={"size": 12})
    for status, level, symbol, colour in (
        ("clean", 0.72, "circle-open", VERDICT_COLOURS["no_evidence"]),
        ("backdoored", 0.28, "x", VERDICT_COLOURS["backdoored"]),
    ):
        rows = [row for row in known if row[1] == status]
        if rows:
            spread = [level + 0.05 * ((i % 3) - 1) for i in range(len(rows))]
            figure.add_scatter(
                x=[row[0] for row in rows], y=spread, mode="markers", name=f"known {status}",
                marker={"symbol": symbol, "size": 9, "color": colour, "line": {"width": 1.6}},
                text=[chart_text(row[2]) for row in rows],
                hovertemplate="%{text}: %{x:.2f}<extra></extra>",
            )
    figure.add_scatter(
        x=[score], y=[0.5], mode="markers+text", name="this model", text=["this model"],
        textposition="top left" if score > 0.85 else "middle right",
        marker={"symbol": "diamond", "size": 15, "color": CALM,
                "line": {"width": 2, "color": "#FFFFFF"}},
        hovertemplate="this model: %{x:.2f}<extra></extra>",
    )
    figure.update_layout(margin={"l": 10, "r": 10, "t": 26, "b": 10})
    figure.update_xaxes(range=[-0.02, 1.02], tickvals=[0, suspicious, backdoored, 1],
                        showgrid=False, title="backdoor score")
    figure.update_yaxes(range=[0, 1.0], visible=False)
    return figure


# --- neurons -----------------------------------------------------------------------------------


def filter_table(report: ScanReport) -> pd.DataFrame:
    """The filters with the lowest mask values: ``layer``, ``filter``, ``mask value``,
    ``outcome`` ("pruned" or "kept").

    Pruned ones come first; at most :data:`MOST_LISTED_FILTERS` rows.
    """
    pruned = {(row.layer, row.index) for row in report.pruned_filters}
    rows = [
        (layer, index, float(value), "pruned" if (layer, index) in pruned else "kept")
        for layer, values in report.curves.filter_masks.items()
        for index, value in enumerate(values)
    ]
    rows.sort(key=lambda row: (row[3] != "pruned", row[2]))
    return pd.DataFrame(
        rows[:MOST_LISTED_FILTERS], columns=["layer", "filter", "mask value", "outcome"]
    )


def mask_map(report: ScanReport, listed: pd.DataFrame, chosen: int | None) -> go.Figure:
    """Mask values by layer and filter; rings mark the listed filters and can be clicked.

    Args:
        listed: of :func:`filter_table`; the rings have its row numbers as ``customdata``.
        chosen: the listed row that stands out.
    """
    masks = report.curves.filter_masks
    layers = list(masks)
    width = max((len(values) for values in masks.values()), default=1)
    grid = np.full((len(layers), width), np.nan)
    for row, layer in enumerate(layers):
        grid[row, : len(masks[layer])] = masks[layer]
    figure = _figure(min(720, 110 + 26 * len(layers)), x="filter")
    names = [chart_text(layer, most=28) for layer in layers]
    figure.add_heatmap(
        z=grid, x=list(range(width)), y=list(range(len(layers))), zmin=0, zmax=1,
        colorscale=[list(stop) for stop in MASK_SCALE], xgap=0.4, ygap=2, hoverongaps=False,
        colorbar={"title": "mask", "thickness": 12, "len": 0.9, "tickvals": [0, 0.5, 1]},
        customdata=[[name] * width for name in names],
        hovertemplate="%{customdata}<br>filter %{x}: mask %{z:.2f}<extra></extra>",
    )
    places = {layer: row for row, layer in enumerate(layers)}
    if len(listed):
        mine = [i == chosen for i in range(len(listed))]
        figure.add_scatter(
            x=listed["filter"], y=[places[layer] for layer in listed["layer"]], mode="markers",
            customdata=list(range(len(listed))),
            marker={
                "symbol": ["circle-open" if kind == "pruned" else "square-open"
                           for kind in listed["outcome"]],
                "size": [18 if m else 8 for m in mine],
                "color": ["#8A63C2" if m else "#FFFFFF" for m in mine],
                "line": {"width": [4 if m else 1.5 for m in mine]},
            },
            text=[chart_text(layer) for layer in listed["layer"]],
            hovertemplate="%{text}, filter %{x}<br>click to select<extra></extra>",
            selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
        )
    figure.update_yaxes(tickvals=list(range(len(layers))), ticktext=names, autorange="reversed",
                        showgrid=False)
    figure.update_xaxes(showgrid=False)
    figure.update_layout(clickmode="event+select")
    return figure


def prune_curve(candidates: Sequence[Sequence[float | None]], chosen: int) -> go.Figure:
    """Accuracy and flip rate by the number of pruned filters; row ``chosen`` is marked."""
    figure = _figure(270, x="pruned filters", legend=True)
    counts = [f"{row[0]:.0f}" for row in candidates]
    for column, name, colour, symbol, dash in (
        (2, "clean accuracy", CALM, "circle", "solid"), (3, "flip rate", ACCENT, "square", "dash"),
    ):
        values = [row[column] for row in candidates]
        figure.add_scatter(
            x=counts, y=values, mode="lines+markers", name=name,
            line={"color": colour, "width": 2.5, "dash": dash},
            marker={
                "symbol": symbol,
                "size": [15 if i == chosen else 7 for i in range(len(counts))],
            },
            hovertemplate=f"%{{x}} filters: {name} %{{y:.2f}}<extra></extra>",
        )
    figure.add_vline(x=chosen, line={"color": QUIET, "dash": "dot", "width": 1.5})
    figure.update_xaxes(type="category")
    figure.update_yaxes(range=[-0.04, 1.06])
    return figure


# --- labels and triggers -----------------------------------------------------------------------


def label_table(report: ScanReport) -> pd.DataFrame:
    """Evidence by label, the most suspicious first."""
    rows = sorted(report.labels, key=lambda row: (-row.score, row.label))
    names = report.model.class_names
    return pd.DataFrame({
        "label": [row.label for row in rows],
        "name": [label_name(row.label, names) for row in rows],
        "score": [row.score for row in rows],
        "unlearned share": [row.unlearned_share for row in rows],
        "trigger ratio": [row.norm_ratio for row in rows],
        "trigger size": [row.trigger_norm for row in rows],
        "anomaly index": [row.anomaly_index for row in rows],
        "kind": [row.kind or "–" for row in rows],
    })


def label_ratios(report: ScanReport, chosen: int | None) -> go.Figure:
    """Trigger ratio by label, with the median at 1."""
    rows = [row for row in report.labels if row.norm_ratio is not None]
    names = report.model.class_names
    figure = _figure(280, x="label", y="size / median size")
    marked = set(report.suspected_target_labels) | ({chosen} if chosen is not None else set())
    figure.add_bar(
        x=[chart_text(label_name(row.label, names), most=20) for row in rows],
        y=[row.norm_ratio for row in rows],
        marker={"color": [ACCENT if row.label in marked else CALM for row in rows],
                "pattern": _stripes(["/" if row.label in marked else "" for row in rows])},
        hovertemplate="%{x}: %{y:.2f}<extra></extra>",
    )
    figure.add_hline(y=1, line={"color": QUIET, "dash": "dot"})
    return figure


def flip_rates(
    original: Sequence[float | None], repaired: Sequence[float | None], names: list[str]
) -> go.Figure:
    """Flip rate by class, on the original and on the repaired model."""
    figure = _figure(280, x="true class", y="flip rate", legend=True)
    labels = [chart_text(label_name(i, names), most=20) for i in range(len(original))]
    for values, name, colour, shape in (
        (original, "original", ACCENT, ""), (repaired, "repaired", COLOURS[2], "/"),
    ):
        figure.add_bar(
            x=labels, y=list(values), name=name,
            marker={"color": colour, "pattern": _stripes(shape)},
            hovertemplate=f"%{{x}}, {name}: %{{y:.2f}}<extra></extra>",
        )
    figure.update_layout(barmode="group")
    figure.update_yaxes(range=[0, 1.05])
    return figure


# --- samples -----------------------------------------------------------------------------------


def suspicion_histogram(scores: Sequence[float], threshold: float | None) -> go.Figure:
    """How many suspects have which suspicion score."""
    figure = _figure(200, x="suspicion score", y="images")
    counts, edges = np.histogram(np.clip(scores, -1, 1), bins=40,
                                 range=(min(0.0, float(np.min(scores, initial=0))), 1.0))
    centres = (edges[:-1] + edges[1:]) / 2
    limit = threshold if threshold is not None else 2.0
    figure.add_bar(
        x=centres, y=counts, width=float(edges[1] - edges[0]),
        marker={"color": [ACCENT if centre > limit else CALM for centre in centres]},
        hovertemplate="score %{x:.2f}: %{y} images<extra></extra>",
    )
    if threshold is not None:
        figure.add_vline(x=threshold, line={"color": QUIET, "dash": "dash"},
                         annotation_text="threshold", annotation_position="top left")
    if counts.max(initial=0) > 50:
        figure.update_yaxes(type="log", dtick=1)
    return figure


def sample_table(report: ScanReport) -> pd.DataFrame:
    """Suspects, the most suspicious first; names of files and labels are untrusted text."""
    names = report.model.class_names
    rows = sorted(report.samples, key=lambda row: (-row.suspicion_score, row.index))
    return pd.DataFrame({
        "index": [row.index for row in rows],
        "id": [row.id for row in rows],
        "suspicion score": [row.suspicion_score for row in rows],
        "flagged": [row.flagged for row in rows],
        "predicted": [label_name(row.predicted, names) for row in rows],
        "predicted by unlearned": [
            "" if row.predicted_unlearned is None else label_name(row.predicted_unlearned, names)
            for row in rows
        ],
        "predicted by repaired": [label_name(row.predicted_repaired, names) for row in rows],
    })


# --- history and fleet -------------------------------------------------------------------------


def job_table(jobs: Sequence[Job]) -> pd.DataFrame:
    """Scans for the history table; names of scans and files are untrusted text."""
    return pd.DataFrame({
        "verdict": [_verdict(job) for job in jobs],
        "score": [job.backdoor_score for job in jobs],
        "name": [job.title for job in jobs],
        "suspected": [", ".join(map(str, job.suspected_target_labels)) for job in jobs],
        "decision": [_decision(job) for job in jobs],
        "started": pd.to_datetime([job.created_at for job in jobs], utc=True, format="ISO8601"),
        "preset": [job.request.preset for job in jobs],
        "seed": [job.request.seed for job in jobs],
        "tags": [[tag for tag in job.tags if ":" not in tag] for job in jobs],
        "file": [job.checkpoint_name for job in jobs],
        "sha256": [job.checkpoint_sha256[:12] for job in jobs],
    })


def rank(jobs: Sequence[Job]) -> list[Job]:
    """The newest scan of each checkpoint, the highest score first.

    Args:
        jobs: finished scans, the newest first.
    """
    newest: dict[str, Job] = {}
    for job in jobs:
        newest.setdefault(job.checkpoint_sha256, job)
    return sorted(newest.values(), key=lambda job: (-(job.backdoor_score or 0.0), job.title))


def rank_table(ranked: Sequence[Job]) -> pd.DataFrame:
    """Models for the fleet's table, in the order given; names are untrusted text."""
    return pd.DataFrame({
        "rank": range(1, len(ranked) + 1),
        "verdict": [_verdict(job) for job in ranked],
        "score": [job.backdoor_score for job in ranked],
        "model": [job.title for job in ranked],
        "suspected": [", ".join(map(str, job.suspected_target_labels)) for job in ranked],
        "decision": [_decision(job) for job in ranked],
        "scanned": pd.to_datetime([job.finished_at for job in ranked], utc=True,
                                  format="ISO8601"),
        "sha256": [job.checkpoint_sha256[:12] for job in ranked],
    })


def _verdict(job: Job) -> str:
    sign = VERDICT_SIGNS.get(job.verdict or "", "")
    return f"{sign} {VERDICT_SHORT.get(job.verdict or '', STATE_WORDS[job.state][0])}".strip()


def _decision(job: Job) -> str:
    return DISPOSITIONS[job.disposition.disposition][0] if job.disposition else ""


def score_histogram(jobs: Sequence[Job]) -> go.Figure:
    """Distribution of backdoor scores by verdict."""
    figure = _figure(260, x="backdoor score", y="models", legend=True)
    edges = np.linspace(0, 1, 21)
    for verdict, shape in zip(VERDICT_SHORT, ("/", "", "", ".", "x"), strict=True):
        scores = [
            job.backdoor_score for job in jobs
            if job.verdict == verdict and job.backdoor_score is not None
        ]
        if scores:
            counts, _ = np.histogram(scores, bins=edges)
            figure.add_bar(
                x=(edges[:-1] + edges[1:]) / 2, y=counts, width=0.048, name=VERDICT_SHORT[verdict],
                marker={"color": VERDICT_COLOURS[verdict], "pattern": _stripes(shape)},
                hovertemplate=f"{VERDICT_SHORT[verdict]}, %{{x:.2f}}: %{{y}}<extra></extra>",
            )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(range=[-0.02, 1.02])
    return figure


def class_counts(counts: Sequence[int], names: list[str]) -> go.Figure:
    """Clean images by class."""
    figure = _figure(200, y="images")
    figure.add_bar(
        x=[chart_text(label_name(i, names), most=18) for i in range(len(counts))], y=list(counts),
        marker={"color": CALM}, hovertemplate="%{x}: %{y} images<extra></extra>",
    )
    return figure


def label_scores(first: ScanReport, second: ScanReport) -> go.Figure:
    """Score by label in two scans of models with the same classes."""
    figure = _figure(300, x="label", y="score", legend=True)
    names = first.model.class_names
    for report, name, colour, shape in ((first, "A", ACCENT, ""), (second, "B", COLOURS[2], "/")):
        scores = {row.label: row.score for row in report.labels}
        figure.add_bar(
            x=[chart_text(label_name(i, names), most=20) for i in range(report.model.num_classes)],
            y=[scores.get(i) for i in range(report.model.num_classes)], name=f"scan {name}",
            marker={"color": colour, "pattern": _stripes(shape)},
            hovertemplate=f"%{{x}}, scan {name}: %{{y:.2f}}<extra></extra>",
        )
    figure.update_layout(barmode="group")
    figure.update_yaxes(range=[0, 1.05])
    return figure


def conditions(report: ScanReport) -> dict[str, object]:
    """What a result depends on: inputs, versions, settings."""
    return {
        "file": {"name": report.model.file_name, "sha256": report.model.sha256},
        "clean images": {"count": report.data.clean.count, "sha256": report.data.clean.sha256},
        "normalisation": report.model.normalization.source,
        "version": report.tool_version,
        "environment": {name: value for name, value in report.environment.items()
                        if not isinstance(value, dict)},
        "settings": report.config,
    }


def finding_rows(report: ScanReport) -> list[tuple[str, str, str]]:
    """(severity, stage, message) of the findings, the most severe first; untrusted text."""
    order = {name: place for place, name in enumerate(SEVERITIES)}
    found = sorted(report.findings, key=lambda row: order.get(row.severity, 9))
    return [(row.severity, row.stage, row.message) for row in found]


def settings_difference(first: Mapping, second: Mapping, prefix: str = "") -> pd.DataFrame:
    """Settings in which two scans differ: ``setting``, ``first``, ``second``."""
    left, right = _flat(first, prefix), _flat(second, prefix)
    rows = [
        (name, str(left.get(name, "–")), str(right.get(name, "–")))
        for name in sorted(left.keys() | right.keys())
        if left.get(name, "–") != right.get(name, "–")
    ]
    return pd.DataFrame(rows, columns=["setting", "first", "second"])


def _flat(values: Mapping, prefix: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
