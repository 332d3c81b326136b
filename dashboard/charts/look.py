"""The look that all charts share: colours, an empty figure, patterns on bars.

Text and grid colours are left to the page's theme, so that a figure follows when the theme is
switched. The colours have a contrast of at least 3:1 on the light and on the dark background.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from dashboard.text import chart_text, label_name

COLOURS = (
    "#3A7CC4", "#D4722B", "#1E9384", "#8A63C2", "#C9485B",
    "#A1892B", "#5B6B7B", "#3F93C8", "#B0629B", "#6C9A3F",
)
"""Categorical colours, the same as ``chartCategoricalColors`` of the theme."""

QUIET = "#8A96A3"
ACCENT = COLOURS[1]
CALM = COLOURS[0]
PICKED = COLOURS[3]
"""What the reader picked, which accuses nothing."""
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

_NAME_HEIGHT = 18
_TALLEST = 960  # pixels, enough for sixty names


def stripes(shapes: object) -> dict[str, object]:
    """A pattern on top of the colour, so that colour is not the only sign."""
    return {"shape": shapes, "fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.75)",
            "size": 7, "solidity": 0.25}


def bar_looks(looks: Sequence[tuple[str, str]]) -> dict[str, object]:
    """Marker of bars, each with a colour and a pattern, see :func:`stripes`."""
    return {"color": [colour for colour, _ in looks],
            "pattern": stripes([shape for _, shape in looks])}


def class_axis(labels: Iterable[int], names: list[str], *, most: int = 20) -> list[str]:
    """Names of ``labels`` for an axis, each of at most ``most`` characters."""
    return [chart_text(label_name(label, names), most=most) for label in labels]


def figure_of(height: int, *, x: str = "", y: str = "", legend: bool = False) -> go.Figure:
    """An empty figure in the common look, with axis titles."""
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 4, "r": 4, "t": 16, "b": 4},
        colorway=list(COLOURS),
        showlegend=legend,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "title": None},
        hovermode="closest",
        dragmode=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        uirevision="keep",
    )
    figure.update_xaxes(title=x or None, zeroline=False, fixedrange=True, automargin=True)
    figure.update_yaxes(title=y or None, zeroline=False, fixedrange=True, automargin=True)
    return figure


def figure_of_names(names: int, *, x: str = "", y: str = "", legend: bool = False) -> go.Figure:
    """An empty figure for lying bars, the first of ``names`` on top; it grows with them.

    Where it would become too tall, Plotly writes only as many names as there is room for.
    """
    figure = figure_of(min(_TALLEST, 90 + _NAME_HEIGHT * names), x=x, y=y, legend=legend)
    figure.update_xaxes(showgrid=True, rangemode="tozero")
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return figure


def count_axis(figure: go.Figure, highest: int, *, lying: bool = False) -> None:
    """Whole numbers on the axis of the bars, which count up to ``highest``."""
    update = figure.update_xaxes if lying else figure.update_yaxes
    update(tickformat=",d", dtick=1 if highest <= 5 else None, rangemode="tozero")
