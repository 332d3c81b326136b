"""A wall of small pictures from one sheet; one of them can be opened by click or keyboard."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

_HTML = """
<div class="wall" role="list"></div>
"""

_CSS = """
:host { display: block; }
.wall { display: grid; gap: 8px; grid-template-columns: repeat(auto-fill, minmax(76px, 1fr)); }
button { all: unset; position: relative; display: block; width: 100%;
  cursor: pointer; box-sizing: border-box; border-radius: 8px; padding: 3px;
  border: 2px solid transparent; }
button:hover { background: var(--st-secondary-background-color); }
button:focus-visible { outline: 3px solid var(--st-link-color); outline-offset: 1px; }
button.open { border-color: var(--st-link-color); }
.picture { width: 100%; aspect-ratio: 1; border-radius: 6px; image-rendering: pixelated;
  background-repeat: no-repeat; }
.line { display: flex; justify-content: space-between; gap: 4px; font: 12px var(--st-font);
  color: var(--st-text-color); padding: 2px 2px 0; }
.flag { color: var(--st-orange-text-color); font-weight: 700; }
"""

_JS = """
export default function (component) {
  const { parentElement, data, setTriggerValue } = component
  const wall = parentElement.querySelector(".wall")
  const rows = Math.ceil(data.tiles.length / data.columns)
  const bytes = Uint8Array.from(atob(data.sheet), letter => letter.charCodeAt(0))
  const sheet = URL.createObjectURL(new Blob([bytes], { type: "image/png" }))
  wall.replaceChildren(...data.tiles.map((tile, place) => {
    const item = document.createElement("div")
    item.setAttribute("role", "listitem")
    const button = document.createElement("button")
    button.type = "button"
    button.className = tile.open ? "open" : ""
    button.setAttribute("aria-label", tile.name)
    if (tile.open) button.setAttribute("aria-current", "true")
    const picture = document.createElement("div")
    picture.className = "picture"
    const column = place % data.columns, row = Math.floor(place / data.columns)
    picture.style.backgroundImage = `url(${sheet})`
    picture.style.backgroundSize = `${100 * data.columns}% ${100 * rows}%`
    const x = data.columns > 1 ? 100 * column / (data.columns - 1) : 0
    const y = rows > 1 ? 100 * row / (rows - 1) : 0
    picture.style.backgroundPosition = `${x}% ${y}%`
    const line = document.createElement("div")
    line.className = "line"
    const text = document.createElement("span")
    text.textContent = tile.text
    line.append(text)
    if (tile.flagged) {
      const flag = document.createElement("span")
      flag.className = "flag"
      flag.textContent = "\\u2691"
      line.append(flag)
    }
    button.append(picture, line)
    button.onclick = () => {
      setTriggerValue("opened", tile.index)
      document.querySelector("[data-testid=stMain]")?.scrollTo({ top: 0 })
    }
    button.onkeydown = event => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
      if (!step) return
      const next = wall.querySelectorAll("button")[place + step]
      if (next) { next.focus(); event.preventDefault(); event.stopPropagation() }
    }
    item.append(button)
    return item
  }))
  return () => URL.revokeObjectURL(sheet)
}
"""


@dataclass(frozen=True)
class Tile:
    """One picture of the wall.

    Attributes:
        index: what is handed back when it is opened.
        text: below the picture.
        name: for screen readers; untrusted text is fine, it is never read as HTML.
        flagged: marked with a flag.
        open: the one that is open now.
    """

    index: int
    text: str
    name: str
    flagged: bool = False
    open: bool = False


_mount = None


def gallery(
    sheet: bytes, tiles: Sequence[Tile], *, columns: int, key: str, on_open: Callable[[], None]
) -> None:
    """Draw the wall; ``st.session_state[key].opened`` is the index inside ``on_open``.

    Args:
        sheet: PNG with all pictures, ``columns`` a row, in the order of ``tiles``.
    """
    global _mount
    if _mount is None:
        _mount = st.components.v2.component("rnp_gallery", html=_HTML, css=_CSS, js=_JS)
    _mount(
        key=key,
        data={
            "sheet": base64.b64encode(sheet).decode(),
            "columns": columns,
            "tiles": [asdict(tile) for tile in tiles],
        },
        on_opened_change=on_open,
    )
