"""Text of other people, made fit to be shown: file names, class names and messages of files."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKDOWN = re.compile(r"([\\`*_{}\[\]#!|~<>&$^@]|:(?=/))")


def shown(value: object, *, most: int = 160) -> str:
    """One line of visible characters.

    Control characters, line breaks, characters that change the direction of text and other
    invisible ones become escapes such as ``\\n`` and ``\\u202e``; what is longer than ``most``
    characters ends in an ellipsis. The result still has to be escaped for HTML or Markdown.
    """
    text = str(value)
    cut = text[: most + 1]
    line = "".join(_visible(character) for character in cut)
    if len(text) > most or len(line) > most:
        return line[: most - 1] + "…"
    return line


def markdown(value: object, *, most: int = 160) -> str:
    """:func:`shown`, with all escaped that Markdown or HTML reads as markup within a line."""
    return _MARKDOWN.sub(r"\\\1", shown(value, most=most)).replace("\\<", "&lt;")


def isolated(text: str) -> str:
    """``text`` between isolating characters where it has letters that run from right to left."""
    runs_left = any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in text)
    return f"\u2068{text}\u2069" if runs_left else text


def relative_uri(path: str | None, fallback: str | None) -> str:
    """``path`` as a relative URI for SARIF; the file name where the path leads elsewhere."""
    text = (path or "").replace("\\", "/")
    leads_away = text.startswith("/") or ".." in text.split("/") or ":" in text.split("/")[0]
    if not text or leads_away:
        text = (fallback or "model").replace("\\", "/").rsplit("/", 1)[-1]
    text = text.removeprefix("./")
    return quote(text.encode("utf-8", "replace")[:512].decode("utf-8", "ignore"), safe="/._-")


def size(count: int | None) -> str:
    """Bytes for people, for example ``"1.2 MB"``."""
    if count is None:
        return "unknown"
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} GB"


def percent(value: float | None) -> str:
    """A share as whole percent; one decimal near the ends, where it matters."""
    if value is None or value != value:
        return "–"
    near_an_end = 0 < value < 0.01 or 0.99 < value < 1
    return f"{value:.1%}" if near_an_end else f"{value:.0%}"


def number(value: float | None, form: str = ".2f") -> str:
    """A number in ``form``, or a dash."""
    return "–" if value is None or value != value else format(value, form)


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    if character in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[character]
    return f"\\u{ord(character):04x}"
