"""What is around every page: brand, column, sign-in, the last resort for errors."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.errors import FragmentHandledException

from dashboard.text import plain
from dashboard.views.parts import link
from dashboard.wording import PRODUCT, next_step
from rnp_core import RnpError

_log = logging.getLogger(__name__)
_STATIC = Path(__file__).resolve().parents[1] / "static"
ICON = str(_STATIC / "icon.png")
"""For the browser's tab; Streamlit would fetch a Material icon for it from the internet."""
_WIDTH = 1280
_READABLE = 760

_STYLE = """<style>
button[role="radio"][aria-checked="true"], button[role="radio"][aria-checked="true"] *,
[data-testid="stSliderThumbValue"], [data-testid="stImageCaption"],
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] p, button kbd {
  color: inherit !important; }
button[role="radio"][aria-checked="true"] p { font-weight: 600; }
[data-testid="stCaptionContainer"] { opacity: 0.78; }
button kbd { opacity: 1 !important; }
[data-testid="stToolbar"] div:has(> [data-testid="stMainMenu"]) { min-width: 0 !important; }
[data-testid="stStatusWidget"] button { display: none; }
@media (max-width: 640px) {
  [role="radiogroup"]:has(button[role="radio"]) {
    flex-wrap: nowrap; overflow-x: auto; scrollbar-width: thin; }
  [role="radiogroup"] button[role="radio"] { flex: none; }
  button[role="radio"][aria-checked="true"] { scroll-initial-target: nearest; } }
@media (min-width: 900px) { [data-testid="stToolbar"] > div {
  padding: 0 max(4rem, calc((100% - 1312px) / 2)); } }
@media print { [data-testid="stHeader"], .st-key-tabs { display: none !important; } }
</style>"""
"""Text with enough contrast where the theme has none to set (the chosen segment, captions), a menu
that fits a phone, choices that stay in one row there, navigation above the column on wide screens,
no "Stop" of a page that could be taken for that of a scan, and no navigation on paper."""

PAGE_OPTIONS: dict[str, dict[str, Any]] = {
    "scan": {"title": "Scan", "icon": ":material/radar:", "default": True, "url_path": "scan",
             "help": "Scan a demo model or your own."},
    "live": {"title": "Live scan", "icon": ":material/monitoring:", "url_path": "live",
             "visibility": "hidden"},
    "verdict": {"title": "Verdict", "icon": ":material/shield:", "url_path": "verdict",
                "visibility": "hidden"},
    "history": {"title": "History", "icon": ":material/history:", "url_path": "history",
                "help": "All scans: find, decide, compare."},
    "compare": {"title": "Compare", "icon": ":material/compare:", "url_path": "compare",
                "visibility": "hidden"},
    "fleet": {"title": "Fleet", "icon": ":material/view_list:", "url_path": "fleet",
              "help": "Many models, ranked by suspicion."},
    "help": {"title": "Help", "icon": ":material/help:", "url_path": "help",
             "help": "The method in pictures, a glossary, the limits."},
}


def render_brand() -> None:
    """The product's sign."""
    st.html(_STYLE)
    st.logo(str(_STATIC / "logo.svg"), size="large")


@contextmanager
def column() -> Iterator[None]:
    """One centred column, so that lines stay short on wide screens."""
    with (
        st.container(horizontal_alignment="center", gap=None),
        st.container(width=_WIDTH, key="page"),
    ):
        yield


def guard(page: Callable[[], None]) -> None:
    """Run a page; errors become a message, never a traceback."""
    try:
        page()
    except FragmentHandledException:  # Streamlit has told what happened in a fragment
        raise
    except Exception as error:
        render_unexpected(error)


def told(work: Callable[..., object]) -> Callable[..., None]:
    """``work`` as the callback of a button: an expected error becomes a short message, as when
    somebody else was faster."""

    def run(*arguments: object) -> None:
        try:
            work(*arguments)
        except RnpError as error:
            st.toast(plain(error, most=300), icon=":material/error:")

    return run


def render_error(
    error: Exception, *, title: str = "That did not work", advice: str | None = None
) -> None:
    """An expected error with what to do next; without ``advice``, what suits its kind."""
    st.error(
        f"{plain(error, most=600)}\n\n{advice or next_step(error)}",
        title=title,
        icon=":material/error:",
    )


def render_unexpected(error: Exception) -> bool:
    """A message with a number that the server's log has as well, or an expected error as such;
    always True."""
    if isinstance(error, RnpError):
        render_error(error)
        return True
    number = secrets.token_hex(4)
    _log.error("unexpected error %s", number, exc_info=error)
    st.error(
        f"The details are in the server's log under {number}. Reload the page to go on.",
        title="Something went wrong on our side",
        icon=":material/error:",
    )
    return True


def render_sign_in() -> None:
    """The page for people who have not signed in."""
    with st.container(horizontal_alignment="center"):
        st.space("large")
        st.title(PRODUCT, width="content")
        st.write("Sign in to see scans and to decide on them.")
        if st.button("Sign in", type="primary", icon=":material/login:"):
            st.login()


def render_account(name: str) -> None:
    """Who is signed in, and the way out."""
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        st.caption(f"Signed in as {plain(name, most=80)}", width="content")
        if st.button("Sign out", type="tertiary", icon=":material/logout:"):
            st.logout()


def render_header(title: str, caption: str = "") -> None:
    """Title of a page with one line below."""
    with st.container(gap="xsmall"):
        st.title(title, anchor=False)
        if caption:
            st.markdown(caption, width=_READABLE)


def render_empty(icon: str, title: str, text: str, *, page: str = "", label: str = "") -> None:
    """A friendly line where there is nothing yet, with the way on."""
    with st.container(border=True, horizontal_alignment="center"):
        st.space("small")
        st.markdown(f"## {icon}", width="content", anchors=False)
        st.markdown(f"**{title}**", width="content")
        if text:
            st.markdown(text, width="content")
        if page:
            link(page, label, icon=":material/arrow_forward:")
        st.space("small")


def render_no_such_scan() -> None:
    """For an address whose scan is not in the history."""
    render_empty(":material/search_off:", "There is no such scan", "It may have been deleted.",
                 page="history", label="See all scans")
