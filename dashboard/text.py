"""Values as text for people, and untrusted text made harmless. No words of its own."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import datetime, timezone

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~<>$:&^=@])")
_MOST = 300


def plain(text: object, *, most: int = _MOST) -> str:
    """Untrusted text for Markdown: every sign that Markdown or HTML reads is taken literally."""
    found = "".join(c if c.isprintable() else "?" for c in str(text))
    if len(found) > most:
        found = found[: most - 1] + "…"
    return _MARKDOWN.sub(r"\\\1", found)


def code(text: object, *, most: int = 200) -> str:
    """Untrusted text for Markdown between backticks."""
    found = "".join(c if c.isprintable() and c != "`" else "?" for c in str(text))
    return found[:most] or "?"


def chart_text(text: object, *, most: int = 60) -> str:
    """Untrusted text for Plotly, which reads a kind of HTML."""
    found = "".join(c if c.isprintable() else "?" for c in str(text))
    return html.escape(found if len(found) <= most else found[: most - 1] + "…", quote=False)


def label_name(label: int, names: list[str]) -> str:
    """A label for people: "3 (stop)", or "3" where it has no name. Untrusted text.

    The label -1 of a trigger stands for any other class.
    """
    if label < 0:
        return "any other class"
    name = names[label] if 0 <= label < len(names) else ""
    return f"{label} ({name})" if name and name != str(label) else str(label)


def label_names(labels: Sequence[int], names: list[str], *, most: int = 12) -> str:
    """The first of some labels for people. Untrusted text."""
    shown = ", ".join(label_name(label, names) for label in labels[:most])
    return shown if len(labels) <= most else f"{shown} and others"


def percent(value: float | None, digits: int = 0) -> str:
    """A share for people; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.{digits}f}%"


def number(value: float | None, digits: int = 2) -> str:
    """A number for people; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def size(count: int | None) -> str:
    """A number of bytes for people."""
    value = float(count or 0)
    for unit in ("bytes", "KB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def duration(seconds: float) -> str:
    """A time span for people."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def when(stamp: str | None) -> str:
    """A time in UTC for people."""
    if not stamp:
        return "–"
    try:
        moment = datetime.fromisoformat(stamp).astimezone(timezone.utc)
    except ValueError:
        return plain(stamp)
    return moment.strftime("%d %b %Y, %H:%M UTC")


def count(number_of: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 filter", "2 filters"."""
    return f"{number_of:,} {one if number_of == 1 else many or one + 's'}"
