"""Two pictures on top of each other with a handle between them: before and after."""

from __future__ import annotations

import streamlit as st

from dashboard.pictures import data_address

_HTML = """
<div class="pair">
  <img class="after" alt="">
  <img class="before" alt="">
  <div class="bar" aria-hidden="true"><span></span></div>
  <span class="tag left"></span><span class="tag right"></span>
  <input type="range" min="0" max="100" value="50" step="1">
</div>
"""

_CSS = """
:host { display: block; }
.pair { position: relative; width: 100%; aspect-ratio: 1; border-radius: var(--st-base-radius);
  overflow: hidden; border: 1px solid var(--st-border-color);
  background: var(--st-secondary-background-color); }
img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain;
  image-rendering: pixelated; }
.before { clip-path: inset(0 calc(100% - var(--at, 50%)) 0 0); }
.bar { position: absolute; top: 0; bottom: 0; left: var(--at, 50%); width: 2px;
  margin-left: -1px; background: #fff; box-shadow: 0 0 0 1px rgba(0,0,0,.35); }
.bar span { position: absolute; top: 50%; left: 50%; width: 34px; height: 34px;
  margin: -17px 0 0 -17px; border-radius: 50%; background: #fff;
  box-shadow: 0 1px 6px rgba(0,0,0,.4); }
.bar span::after { content: "\\2194"; position: absolute; inset: 0; text-align: center;
  line-height: 33px; color: #1b2530; font-size: 18px; }
.tag { position: absolute; top: 8px; padding: 1px 8px; border-radius: 8px; font-size: 13px;
  font-family: var(--st-font); background: rgba(17,23,28,.82); color: #fff; }
.left { left: 8px; } .right { right: 8px; }
input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: ew-resize; }
.pair:focus-within { outline: 3px solid var(--st-primary-color); outline-offset: 2px; }
"""

_JS = """
export default function (component) {
  const { parentElement, data } = component
  const pair = parentElement.querySelector(".pair")
  const set = (name, source, text) => {
    const image = parentElement.querySelector(name)
    if (image.src !== source) image.src = source
    image.alt = text
  }
  set(".before", data.before, data.before_name)
  set(".after", data.after, data.after_name)
  parentElement.querySelector(".left").textContent = data.before_name
  parentElement.querySelector(".right").textContent = data.after_name
  const input = parentElement.querySelector("input")
  input.setAttribute("aria-label", data.name)
  input.oninput = () => pair.style.setProperty("--at", input.value + "%")
}
"""

_mount = None


def compare_slider(
    before: bytes, after: bytes, *, key: str, names: tuple[str, str], name: str
) -> None:
    """Draw two PNG pictures of one size with a handle between them.

    Args:
        names: what the left and the right picture are.
        name: of the whole, for screen readers.
    """
    global _mount
    if _mount is None:
        _mount = st.components.v2.component("rnp_slider", html=_HTML, css=_CSS, js=_JS)
    _mount(
        key=key,
        data={
            "before": data_address(before), "after": data_address(after),
            "before_name": names[0], "after_name": names[1], "name": name,
        },
    )
