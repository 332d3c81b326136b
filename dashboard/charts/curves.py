"""What a scan measures while it runs: accuracy, shares, masks, sizes of triggers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.charts.look import ACCENT, CALM, COLOURS, QUIET, count_axis, figure_of
from dashboard.text import chart_text, label_name

SHARES_HEIGHT = 300
SMALL_HEIGHT = 230
"""Pixels, also of the place that is kept for a chart."""


def accuracy_curve(values: Sequence[float], *, stop: float | None = None) -> go.Figure:
    """Accuracy by step; ``stop`` is where unlearning ends."""
    figure = figure_of(SMALL_HEIGHT, x="step", y="accuracy")
    figure.add_scatter(
        x=list(range(1, len(values) + 1)), y=list(values), mode="lines", name="accuracy",
        line={"color": CALM, "width": 2.5}, hovertemplate="step %{x}: %{y:.2f}<extra></extra>",
    )
    if stop is not None:
        figure.add_hline(
            y=stop, line={"color": QUIET, "dash": "dot"}, annotation_text="stops here",
            annotation_position="top left",
        )
    figure.update_yaxes(range=[-0.03, 1.05])
    return figure


def share_curves(
    shares: Sequence[Sequence[float]], names: list[str], *, chosen: Sequence[int] = (),
    most: int = 4,
) -> go.Figure:
    """Share of answers by label while unlearning; ``chosen`` labels stand out."""
    figure = figure_of(SHARES_HEIGHT, x="unlearning step", y="share of answers", legend=True)
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
                "color": ACCENT if strong and place == 0 else COLOURS[(0, 2, 3, 5)[place]],
                "dash": "solid" if strong else ("dash", "dot", "dashdot")[place % 3],
            },
            hovertemplate=f"{name}<br>step %{{x}}: %{{y:.2f}}<extra></extra>",
        )
    figure.update_yaxes(range=[-0.03, 1.05])
    return figure


def mask_histogram(counts: Sequence[float]) -> go.Figure:
    """Filters by mask value, in equal steps from 0 to 1."""
    figure = figure_of(SMALL_HEIGHT, x="mask value", y="filters")
    edges = np.linspace(0, 1, len(counts) + 1)
    figure.add_bar(
        x=(edges[:-1] + edges[1:]) / 2, y=list(counts), width=0.92 / max(1, len(counts)),
        marker={"color": [ACCENT if edge < 0.2 else CALM for edge in edges[:-1]]},
        hovertemplate="mask %{x:.2f}: %{y:.0f} filters<extra></extra>",
    )
    figure.update_xaxes(range=[-0.02, 1.02])
    count_axis(figure, int(max(counts, default=0)))
    return figure


def trigger_sizes(sizes: Sequence[float], names: list[str]) -> go.Figure:
    """Sizes of the triggers so far, a bar a label."""
    figure = figure_of(SMALL_HEIGHT, x="label", y="trigger size")
    order = np.argsort(sizes, kind="stable")
    smallest = int(order[0]) if len(sizes) else -1
    figure.add_bar(
        x=[chart_text(label_name(i, names), most=18) for i in range(len(sizes))], y=list(sizes),
        marker={"color": [ACCENT if i == smallest else CALM for i in range(len(sizes))]},
        hovertemplate="label %{x}: %{y:.1f}<extra></extra>",
    )
    return figure
