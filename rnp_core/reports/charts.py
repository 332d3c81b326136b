"""Figures as Plotly charts, and Plotly's script, which a report carries once."""

from __future__ import annotations

from functools import cache
from typing import Any

from rnp_core.reports.figures import Figure, Series
from rnp_core.reports.svg import TONE_COLOURS


@cache
def plotly_script() -> str | None:
    """The text of Plotly's script; None where plotly is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        return None
    return get_plotlyjs()


def specification(figure: Figure) -> dict[str, Any]:
    """The figure as ``{"data": [...], "layout": {...}}`` for ``Plotly.newPlot``.

    Text and grid colours are left to the page. Names are escaped, because Plotly reads a few HTML
    tags in text.
    """
    bars = figure.kind == "bars"
    layout: dict[str, Any] = {
        "height": 110 + 26 * len(figure.categories) if bars else 300,
        "margin": {"l": 8, "r": 8, "t": 34, "b": 48 if bars else 8},
        "showlegend": len(figure.series) > 1,
        "legend": {
            "orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal",
        },
        "hovermode": "closest",
        "dragmode": False,
        "bargap": 0.05 if figure.kind == "columns" else 0.24,
        "barmode": "stack" if figure.kind == "columns" or not _grouped(figure) else "group",
        "xaxis": {
            "title": {"text": "" if bars else figure.x_label, "font": {"size": 13}},
            "automargin": True,
            "fixedrange": True,
            "zeroline": False,
        },
        "yaxis": {
            "title": {"text": "" if bars else figure.y_label, "font": {"size": 13}},
            "automargin": True,
            "fixedrange": True,
            "zeroline": False,
        },
        "shapes": [
            {
                "type": "line", "x0": value, "x1": value, "y0": 0, "y1": 1, "yref": "paper",
                "line": {"dash": "dot", "width": 1.5, "color": TONE_COLOURS["quiet"]},
            }
            for value, _ in figure.marks
        ],
        "annotations": [
            {
                "x": value, "y": 1, "yref": "paper", "text": _safe(name), "showarrow": False,
                "xanchor": "left", "yanchor": "top",
            }
            for value, name in figure.marks
        ],
    }
    if figure.x_range:
        layout["xaxis"]["range"] = list(figure.x_range)
    if figure.y_range:
        layout["yaxis"]["range"] = list(figure.y_range)
    if bars:
        layout["annotations"].append(  # a title of the axis would not fit below short bars
            {
                "x": 1, "xref": "paper", "y": 0, "yref": "paper", "yshift": -22,
                "text": _safe(figure.x_label), "showarrow": False, "xanchor": "right",
                "yanchor": "top",
            }
        )
        layout["yaxis"].update(
            {
                "autorange": "reversed",
                "tickvals": list(range(len(figure.categories))),
                "ticktext": [_safe(name) for name in figure.categories],
            }
        )
    return {"data": [_trace(figure, series) for series in figure.series], "layout": layout}


def _trace(figure: Figure, series: Series) -> dict[str, Any]:
    colour = TONE_COLOURS[series.tone]
    trace: dict[str, Any] = {"name": _safe(series.name), "hoverinfo": "x+y+name"}
    if figure.kind == "bars":
        names = [_safe(name) for name in figure.categories]
        return {
            **trace, "type": "bar", "orientation": "h", "x": _rounded(series.y),
            "y": list(range(len(names))), "customdata": names, "marker": {"color": colour},
            "hovertemplate": "%{customdata}: %{x:.2f}",
        }
    values = {**trace, "x": _rounded(series.x), "y": _rounded(series.y)}
    if figure.kind == "columns":
        return {**values, "type": "bar", "marker": {"color": colour}}
    if figure.kind == "dots":
        return {
            **values, "type": "scatter", "mode": "markers",
            "marker": {"color": colour, "size": 6}, "hoverinfo": "y+name",
        }
    line = {"color": colour, "width": 2.4, "dash": "dash" if series.dash else "solid"}
    return {**values, "type": "scatter", "mode": "lines", "line": line}


def _grouped(figure: Figure) -> bool:
    """Whether the series of a bar chart stand beside each other, or fill each other's gaps."""
    return all(value is not None for series in figure.series for value in series.y)


def _rounded(values: tuple[float | None, ...]) -> list[float | None]:
    return [None if value is None else round(value, 4) for value in values]


def _safe(text: str) -> str:
    """Without the characters that Plotly would read as markup or as an entity."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
