"""Where a score lies among thresholds and known models."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.charts.look import CALM, VERDICT_COLOURS, figure_of
from dashboard.text import chart_text


def calibration_strip(
    score: float, *, suspicious: float, backdoored: float,
    known: Sequence[tuple[float, str, str]] = (),
) -> go.Figure:
    """Where a score lies between the thresholds and among known models.

    Args:
        known: (score, "clean" or "backdoored", name) of each known model.
    """
    figure = figure_of(128 if known else 92)
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
        ("clean", 0.74, "circle-open", VERDICT_COLOURS["no_evidence"]),
        ("backdoored", 0.26, "x-thin", VERDICT_COLOURS["backdoored"]),
    ):
        rows = [row for row in known if row[1] == status]
        if rows:
            spread = [level + 0.09 * ((i % 3) - 1) for i in range(len(rows))]
            figure.add_scatter(
                x=[row[0] for row in rows], y=spread, mode="markers", name=f"known {status}",
                marker={"symbol": symbol, "size": 9, "color": colour,
                        "line": {"width": 1.8, "color": colour}},
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
    figure.update_layout(margin={"l": 10, "r": 10, "t": 22, "b": 4})
    figure.update_xaxes(range=[-0.02, 1.02], tickvals=[0, suspicious, backdoored, 1],
                        showgrid=False)
    figure.update_yaxes(range=[0, 1.0], visible=False)
    return figure
