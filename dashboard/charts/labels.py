"""Evidence by label: tables, trigger ratios, flip rates, images by class."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.look import (
    ACCENT,
    CALM,
    COLOURS,
    PICKED,
    QUIET,
    bar_looks,
    class_axis,
    count_axis,
    figure_of_names,
    stripes,
)
from dashboard.text import label_name
from rnp_core import ScanReport


def label_table(report: ScanReport) -> pd.DataFrame:
    """Evidence by label, the most suspicious first."""
    rows = report.ranked_labels
    names = report.model.class_names
    return pd.DataFrame({
        "label": [row.label for row in rows],
        "name": [label_name(row.label, names) for row in rows],
        "score": [row.score for row in rows],
        "unlearned share": [100 * row.unlearned_share for row in rows],
        "trigger ratio": [row.norm_ratio for row in rows],
        "trigger size": [row.trigger_norm for row in rows],
        "anomaly index": [_rounded(row.anomaly_index) for row in rows],
        "margin ratio": [row.margin_ratio for row in rows],
        "wave lead": [_rounded(row.sinusoid_lead) for row in rows],
        "kind": [row.kind or "–" for row in rows],
    })


def _rounded(value: float | None) -> float | None:
    """One digit, and no minus before zero."""
    return None if value is None else round(value, 1) + 0.0


def label_ratios(report: ScanReport, chosen: int | None) -> go.Figure:
    """Trigger ratio by label, with the median at 1; suspected labels and the chosen one stand
    out."""
    rows = [row for row in report.labels if row.norm_ratio is not None]
    names = report.model.class_names
    figure = figure_of_names(len(rows), x="size / median size", y="label")
    looks = [
        (ACCENT, "/") if row.label in report.suspected_target_labels
        else (PICKED, ".") if row.label == chosen else (CALM, "") for row in rows
    ]
    figure.add_bar(
        x=[row.norm_ratio for row in rows], y=class_axis([row.label for row in rows], names),
        orientation="h",
        marker=bar_looks(looks),
        hovertemplate="%{y}: %{x:.2f}<extra></extra>",
    )
    figure.add_vline(x=1, line={"color": QUIET, "dash": "dot"})
    return figure


def flip_rates(
    original: Sequence[float | None], repaired: Sequence[float | None], names: list[str]
) -> go.Figure:
    """Flip rate by class, on the original and on the repaired model."""
    figure = figure_of_names(len(original), x="flip rate", y="true class", legend=True)
    labels = class_axis(range(len(original)), names)
    for values, name, colour, shape in (
        (original, "original", ACCENT, ""), (repaired, "repaired", COLOURS[2], "/"),
    ):
        figure.add_bar(
            x=list(values), y=labels, name=name, orientation="h",
            marker={"color": colour, "pattern": stripes(shape)},
            hovertemplate=f"%{{y}}, {name}: %{{x:.2f}}<extra></extra>",
        )
    figure.update_layout(barmode="group")
    figure.update_xaxes(range=[0, 1.05])
    return figure


def class_counts(counts: Sequence[int], names: list[str]) -> go.Figure:
    """Clean images by class."""
    figure = figure_of_names(len(counts), x="images")
    count_axis(figure, max(counts, default=0), lying=True)
    figure.add_bar(
        x=list(counts), y=class_axis(range(len(counts)), names), orientation="h",
        marker={"color": CALM}, hovertemplate="%{y}: %{x} images<extra></extra>",
    )
    return figure


def label_scores(first: ScanReport, second: ScanReport) -> go.Figure:
    """Score by label in two scans of models with the same classes."""
    classes = range(first.model.num_classes)
    figure = figure_of_names(len(classes), x="score", y="label", legend=True)
    labels = class_axis(classes, first.model.class_names)
    for report, name, colour, shape in ((first, "A", ACCENT, ""), (second, "B", COLOURS[2], "/")):
        scores = {row.label: row.score for row in report.labels}
        figure.add_bar(
            x=[scores.get(i) for i in classes], y=labels, name=f"scan {name}", orientation="h",
            marker={"color": colour, "pattern": stripes(shape)},
            hovertemplate=f"%{{y}}, scan {name}: %{{x:.2f}}<extra></extra>",
        )
    figure.update_layout(barmode="group")
    figure.update_xaxes(range=[0, 1.05])
    return figure
