"""Evidence by label: tables, trigger ratios, flip rates, images by class."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.look import ACCENT, CALM, COLOURS, QUIET, count_axis, figure_of, stripes
from dashboard.text import chart_text, label_name
from rnp_core import ScanReport


def label_table(report: ScanReport) -> pd.DataFrame:
    """Evidence by label, the most suspicious first."""
    rows = sorted(report.labels, key=lambda row: (-row.score, row.label))
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
        "kind": [row.kind or "–" for row in rows],
    })


def _rounded(value: float | None) -> float | None:
    """One digit, and no minus before zero."""
    return None if value is None else round(value, 1) + 0.0


def label_ratios(report: ScanReport, chosen: int | None) -> go.Figure:
    """Trigger ratio by label, with the median at 1."""
    rows = [row for row in report.labels if row.norm_ratio is not None]
    names = report.model.class_names
    figure = figure_of(280, x="label", y="size / median size")
    marked = set(report.suspected_target_labels) | ({chosen} if chosen is not None else set())
    figure.add_bar(
        x=[chart_text(label_name(row.label, names), most=20) for row in rows],
        y=[row.norm_ratio for row in rows],
        marker={"color": [ACCENT if row.label in marked else CALM for row in rows],
                "pattern": stripes(["/" if row.label in marked else "" for row in rows])},
        hovertemplate="%{x}: %{y:.2f}<extra></extra>",
    )
    figure.add_hline(y=1, line={"color": QUIET, "dash": "dot"})
    return figure


def flip_rates(
    original: Sequence[float | None], repaired: Sequence[float | None], names: list[str]
) -> go.Figure:
    """Flip rate by class, on the original and on the repaired model."""
    figure = figure_of(280, x="true class", y="flip rate", legend=True)
    labels = [chart_text(label_name(i, names), most=20) for i in range(len(original))]
    for values, name, colour, shape in (
        (original, "original", ACCENT, ""), (repaired, "repaired", COLOURS[2], "/"),
    ):
        figure.add_bar(
            x=labels, y=list(values), name=name,
            marker={"color": colour, "pattern": stripes(shape)},
            hovertemplate=f"%{{x}}, {name}: %{{y:.2f}}<extra></extra>",
        )
    figure.update_layout(barmode="group")
    figure.update_yaxes(range=[0, 1.05])
    return figure


def class_counts(counts: Sequence[int], names: list[str]) -> go.Figure:
    """Clean images by class."""
    figure = figure_of(200, y="images")
    count_axis(figure, max(counts, default=0))
    figure.add_bar(
        x=[chart_text(label_name(i, names), most=18) for i in range(len(counts))], y=list(counts),
        marker={"color": CALM}, hovertemplate="%{x}: %{y} images<extra></extra>",
    )
    return figure


def label_scores(first: ScanReport, second: ScanReport) -> go.Figure:
    """Score by label in two scans of models with the same classes."""
    figure = figure_of(300, x="label", y="score", legend=True)
    names = first.model.class_names
    for report, name, colour, shape in ((first, "A", ACCENT, ""), (second, "B", COLOURS[2], "/")):
        scores = {row.label: row.score for row in report.labels}
        figure.add_bar(
            x=[chart_text(label_name(i, names), most=20) for i in range(report.model.num_classes)],
            y=[scores.get(i) for i in range(report.model.num_classes)], name=f"scan {name}",
            marker={"color": colour, "pattern": stripes(shape)},
            hovertemplate=f"%{{x}}, scan {name}: %{{y:.2f}}<extra></extra>",
        )
    figure.update_layout(barmode="group")
    figure.update_yaxes(range=[0, 1.05])
    return figure
