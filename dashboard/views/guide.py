"""The method in pictures, the glossary, the limits."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard.handbook import GLOSSARY, HELP_STEPS
from dashboard.wording import VERDICT_SHORT, VERDICTS
from rnp_core import LIMITS

_STATIC = Path(__file__).resolve().parents[1] / "static"


def render_method() -> None:
    """Each step with its picture."""
    st.header("How a scan works", anchor=False)
    for place in range(0, len(HELP_STEPS), 3):
        for column, (picture, title, text) in zip(
            st.columns(3), HELP_STEPS[place : place + 3], strict=False
        ):
            with column.container(border=True, height="stretch", gap="small"):
                st.image(str(_STATIC / picture), width="stretch", alt="")
                st.markdown(f"**{title}**")
                st.markdown(text)


def render_verdicts() -> None:
    """What each verdict means."""
    st.header("What the verdicts mean", anchor=False)
    for name in ("backdoored", "suspicious", "no_evidence", "inconclusive"):
        words = VERDICTS[name]
        with st.container(border=True, gap="xxsmall"):
            st.markdown(f":{words.colour}-badge[{words.icon} {VERDICT_SHORT[name]}]")
            st.markdown(f"{words.meaning} {words.advice}")


def render_glossary() -> None:
    """Terms in alphabetical order."""
    st.header("Glossary", anchor=False)
    terms = sorted(GLOSSARY)
    for column, part in zip(st.columns(2, gap="large"),
                            (terms[: -(-len(terms) // 2)], terms[-(-len(terms) // 2) :]),
                            strict=True):
        with column:
            for term, text in part:
                st.markdown(f"**{term}**  \n{text}")


def render_limits() -> None:
    """What a scan cannot see."""
    st.header("Limits", anchor=False)
    with st.container(border=True):
        st.markdown("\n".join(f"- {text}" for text in LIMITS))
