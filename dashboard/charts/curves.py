"""What a scan measures while it runs: accuracy, shares, masks, sizes of triggers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
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
    figure_of,
    figure_of_names,
)
from dashboard.text import chart_text, label_name

SHARES_HEIGHT = 300
SMALL_HEIGHT = 230
"""Pixels, also of the place that is kept for a chart."""

_DASHES = ("solid", "dash", "dot", "dashdot")
_NEUTRAL = (CALM, COLOURS[2], COLOURS[5], COLOURS[6])


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
    shares: Sequence[Sequence[float]], names: list[str], *, suspected: Sequence[int] = (),
    chosen: int | None = None,
) -> go.Figure:
    """Share of answers by label while unlearning; suspected labels and the chosen one stand out.

    The labels that lead are named, but that alone accuses none of them.
    """
    figure = figure_of(SHARES_HEIGHT, x="unlearning step", y="share of answers", legend=True)
    table = np.asarray(shares, float)
    if table.ndim != 2 or not table.size:
        return figure
    first = [*suspected, *([] if chosen is None else [chosen])]
    leading = list(dict.fromkeys([*first, *np.argsort(-table[-1], kind="stable").tolist()]))
    named = leading[: len(_DASHES)]
    steps = list(range(1, len(table) + 1))
    for label in range(table.shape[1]):
        if label in named:
            continue
        figure.add_scatter(
            x=steps, y=table[:, label], mode="lines", line={"color": QUIET, "width": 1},
            opacity=0.35, hoverinfo="skip", showlegend=False,
        )
    for label, dash, colour in zip(named, _DASHES, _NEUTRAL, strict=False):
        name = chart_text(label_name(label, names))
        strong = label in first
        if strong:
            colour = ACCENT if label in suspected else PICKED
        figure.add_scatter(
            x=steps, y=table[:, label], mode="lines", name=name,
            line={"width": 3.5 if strong else 1.8, "color": colour, "dash": dash},
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


def trigger_sizes(
    sizes: Sequence[float], labels: Sequence[int], names: list[str]
) -> go.Figure:
    """Sizes of the triggers to ``labels`` so far, a bar each."""
    figure = figure_of_names(len(sizes), x="trigger size", y="label")
    smallest = int(np.argmin(sizes)) if len(sizes) else -1
    looks = [(ACCENT, "/") if i == smallest else (CALM, "") for i in range(len(sizes))]
    figure.add_bar(
        x=list(sizes), orientation="h",
        y=class_axis(labels, names, most=18), marker=bar_looks(looks),
        hovertemplate="label %{y}: %{x:.1f}<extra></extra>",
    )
    return figure
