"""Filters of the network: table, mask map, prune curve."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.look import ACCENT, CALM, COLOURS, MASK_SCALE, PICKED, QUIET, figure_of
from dashboard.text import chart_text
from rnp_core import ScanReport

MOST_LISTED_FILTERS = 50
_PLOT_WIDTH = 1000  # pixels of the map on a wide screen
_PRUNED, _KEPT = COLOURS[4], "#7C8894"  # show on the light and on the dark page


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
    """Mask values by layer and filter; signs above the cells mark the listed filters and can be
    clicked. Where cells are narrow, fewer of those that stay are marked.

    Args:
        listed: of :func:`filter_table`; the signs have its row numbers as ``customdata``.
        chosen: the listed row that stands out.
    """
    masks = report.curves.filter_masks
    layers = list(masks)
    width = max((len(values) for values in masks.values()), default=1)
    grid = np.full((len(layers), width), np.nan)
    for row, layer in enumerate(layers):
        grid[row, : len(masks[layer])] = masks[layer]
    step = min(28.0, 600 / max(1, len(layers)))  # pixels from row to row
    cell = _PLOT_WIDTH / width
    figure = figure_of(round(120 + step * (len(layers) + 0.5)), x="filter")
    names = [chart_text(layer, most=28) for layer in layers]
    figure.add_heatmap(
        z=grid, x=list(range(width)), y=list(range(len(layers))), zmin=0, zmax=1,
        colorscale=[list(stop) for stop in MASK_SCALE], xgap=0.4 if cell > 10 else 0,
        ygap=0.36 * step, hoverongaps=False,
        colorbar={"title": "mask", "orientation": "h", "thickness": 10, "x": 1, "xanchor": "right",
                  "y": 1, "yanchor": "bottom", "ypad": 0, "lenmode": "pixels", "len": 200,
                  "tickvals": [0, 0.5, 1]},
        customdata=[[name] * width for name in names],
        hovertemplate="%{customdata}<br>filter %{x}: mask %{z:.2f}<extra></extra>",
    )
    places = {layer: row for row, layer in enumerate(layers)}
    if len(listed):
        kept = itertools.count()
        most = max(5, round(5 * cell))
        marked = [i for i, outcome in enumerate(listed["outcome"])
                  if outcome == "pruned" or next(kept) < most or i == chosen]
        shown = listed.iloc[marked]
        pruned = shown["outcome"] == "pruned"
        colours = [PICKED if i == chosen else _PRUNED if out else _KEPT
                   for i, out in zip(marked, pruned, strict=True)]
        figure.add_scatter(
            x=shown["filter"], y=[places[layer] - 0.5 for layer in shown["layer"]],
            mode="markers", customdata=marked,
            marker={
                "symbol": ["triangle-down" if out else "triangle-down-open" for out in pruned],
                "size": [16 if i == chosen else 8 for i in marked],
                "color": colours, "opacity": 1, "line": {"width": 1.5, "color": colours},
            },
            text=[chart_text(layer) for layer in shown["layer"]],
            hovertemplate="%{text}, filter %{x}<br>click to select<extra></extra>",
            selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
        )
    figure.update_yaxes(tickvals=list(range(len(layers))), ticktext=names, showgrid=False,
                        range=[len(layers) - 0.5, -1])
    figure.update_xaxes(showgrid=False, range=[-0.5, width - 0.5])
    figure.update_layout(clickmode="event+select")
    return figure


def prune_curve(candidates: Sequence[Sequence[float | None]], chosen: int) -> go.Figure:
    """Accuracy and flip rate by the number of pruned filters; row ``chosen`` is marked."""
    figure = figure_of(270, x="pruned filters", legend=True)
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
