"""Figures as small SVG drawings, for paper and for browsers without scripts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence

from markupsafe import Markup, escape

from rnp_core.reports.figures import Figure, Series

WIDTH = 640
TONE_COLOURS = {
    "accent": "#D4722B",
    "calm": "#3A7CC4",
    "second": "#1E9384",
    "third": "#8A63C2",
    "fourth": "#C9485B",
    "quiet": "#8A96A3",
}
"""At least 3:1 against white and against the dark page."""

_TEXT, _GRID = "#5B6673", "#C9D1D9"
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 42, 44
_FONT = 'font-family="DejaVu Sans, sans-serif" font-size="12"'
_LETTER = 7.0
"""About the width of a letter."""
_ISOLATED = re.compile(" ?\\(\u2068[^\u2069]*\u2069\\)")
"""A name that runs from right to left. WeasyPrint draws letter by letter to the right, so a drawing
keeps the number of the label alone."""

Scale = Callable[[float], float]


def draw(figure: Figure) -> Markup:
    """The figure as an ``<svg>`` element. All text in it is escaped.

    Text has the class ``ink`` and lines of the grid ``grid``, so that a page may recolour them.
    """
    bars = figure.kind == "bars"
    height = 108 + 11 * len(figure.series) * len(figure.categories) if bars else 278
    height = max(height, 138 + 24 * len(figure.categories) if bars else 0)
    left, right = (190, WIDTH - 56) if bars else (_LEFT, WIDTH - _RIGHT)
    legend, deeper = _legend(figure.series, left)
    height += deeper
    low, high = figure.x_range or _range([x for s in figure.series for x in s.x])
    across = _scale(low, high, left, right)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(figure.title)}" {_FONT}>'
    ]
    parts += legend
    top, base = _TOP + deeper, height - _BOTTOM
    for value in _ticks(low, high):
        if figure.kind == "dots":
            continue
        x = across(value)
        parts.append(_line(x, top, x, base, _GRID, "grid"))
        parts.append(_text(x, base + 16, _tick(value), "middle"))
    parts.append(_text((left + right) / 2, height - 8, figure.x_label, "middle"))
    for value, name in figure.marks:
        x = across(value)
        parts.append(_line(x, top - 2, x, base, _TEXT, "mark", dash="4 3"))
        parts.append(_text(x + 4, top - 3, name, "start"))
    if bars:
        parts += _bars(figure, across, top + 4, base - 4, left, right)
    else:
        parts += _plane(figure, across, top, base, left)
    parts.append("</svg>")
    return Markup("".join(parts))


def _plane(figure: Figure, across: Scale, top: float, base: float, left: int) -> Iterator[str]:
    values = [y for s in figure.series for y in s.y if y is not None]
    floor, ceiling = figure.y_range or (0.0, max([*values, 1.0]) * 1.05)
    up = _scale(floor, ceiling, base, top)
    for value in _ticks(floor, ceiling):
        yield _line(left, up(value), WIDTH - _RIGHT, up(value), _GRID, "grid")
        yield _text(left - 6, up(value) + 4, _tick(value), "end")
    middle = (top + base) / 2
    yield (
        f'<text class="ink" fill="{_TEXT}" text-anchor="middle" '
        f'transform="translate(14 {middle:.0f}) rotate(-90)">{escape(figure.y_label)}</text>'
    )
    for series in figure.series:
        colour = TONE_COLOURS[series.tone]
        if figure.kind == "lines":
            yield _path(series, across, up, colour)
        elif figure.kind == "dots":
            yield from (
                f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="2.6" fill="{colour}"/>'
                for x, y in zip(series.x, series.y, strict=True)
                if y is not None
            )
        else:
            step = series.x[1] - series.x[0] if len(series.x) > 1 else 1.0
            width = max(1.0, across(step) - across(0.0) - 1)
            yield from (
                _rectangle(across(x) - width / 2, up(y), width, up(floor) - up(y), colour)
                for x, y in zip(series.x, series.y, strict=True)
                if y
            )


def _bars(
    figure: Figure, across: Scale, top: float, base: float, left: int, right: int
) -> Iterator[str]:
    slot = (base - top) / max(1, len(figure.categories))
    grouped = all(y is not None for s in figure.series for y in s.y) and len(figure.series) > 1
    thickness = slot * 0.76 / (len(figure.series) if grouped else 1)
    for place, name in enumerate(figure.categories):
        y = top + place * slot + slot * 0.12
        yield _text(left - 8, y + slot * 0.38 + 4, name, "end")
        for i, series in enumerate(figure.series):
            value = series.y[place]
            if value is None:
                continue
            row = y + (i * thickness if grouped else 0)
            length = min(max(across(value), left), right) - left
            tone = TONE_COLOURS[series.tone]
            yield _rectangle(left, row, max(length, 1.0), thickness * 0.92, tone)
            yield _text(WIDTH - _RIGHT, row + thickness / 2 + 3.5, f"{value:.2f}", "end", size=10.5)


def _legend(series: Sequence[Series], left: int) -> tuple[list[str], int]:
    """Colours and names in as many rows as they need, and the height beyond the first row."""
    parts: list[str] = []
    if len(series) < 2:
        return parts, 0
    x, y = float(left), 9
    for entry in series:
        wide = 32 + _LETTER * len(entry.name)
        if x > left and x + wide > WIDTH:
            x, y = float(left), y + 18
        parts.append(_rectangle(x, y, 12, 12, TONE_COLOURS[entry.tone]))
        parts.append(_text(x + 17, y + 10, entry.name, "start"))
        x += wide
    return parts, y - 9


def _path(series: Series, across: Scale, up: Scale, colour: str) -> str:
    steps, pen = [], "M"
    for x, y in zip(series.x, series.y, strict=True):
        if y is None:
            pen = "M"
            continue
        steps.append(f"{pen}{across(x):.1f} {up(y):.1f}")
        pen = "L"
    dash = ' stroke-dasharray="6 4"' if series.dash else ""
    return (
        f'<path d="{"".join(steps)}" fill="none" stroke="{colour}" stroke-width="2.2" '
        f'stroke-linejoin="round"{dash}/>'
    )


def _text(x: float, y: float, text: str, anchor: str, *, size: float = 12) -> str:
    return (
        f'<text class="ink" fill="{_TEXT}" x="{x:.1f}" y="{y:.1f}" font-size="{size}" '
        f'text-anchor="{anchor}">{escape(_ISOLATED.sub("", text))}</text>'
    )


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, name: str, *, dash: str = ""
) -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line class="{name}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}"{dashes}/>'
    )


def _rectangle(x: float, y: float, width: float, height: float, colour: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1.5" '
        f'fill="{colour}"/>'
    )


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _range(values: Sequence[float]) -> tuple[float, float]:
    return (min(values), max(values)) if values else (0.0, 1.0)


def _ticks(low: float, high: float) -> list[float]:
    """About five round values within the range."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low] if math.isfinite(low) else []
    rough = span / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [place * step for place in range(first, last + 1)]


def _tick(value: float) -> str:
    return f"{value:,.10g}" if abs(value) >= 1e-12 else "0"
