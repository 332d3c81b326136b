"""Small pieces that several views share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard.text import plain
from dashboard.wording import SEVERITIES, STATE_WORDS, VERDICT_SHORT, VERDICTS
from rnp_core import PRESETS, Job

LARGEST_SEED = 2**31 - 1


def verdict_badge(verdict: str | None, state: str = "done") -> str:
    """Markdown of a verdict, or of the state where there is none yet."""
    if verdict in VERDICTS:
        words = VERDICTS[verdict]
        return f":{words.colour}-badge[{words.icon} {VERDICT_SHORT[verdict]}]"
    name, icon, colour = STATE_WORDS.get(state, (state, ":material/help:", "gray"))
    return f":{colour}-badge[{icon} {name}]"


def reading(text: str) -> None:
    """One sentence on how to read what follows."""
    st.caption(text)


def findings(rows: Sequence[tuple[str, str, str]]) -> None:
    """A list of findings; messages may hold untrusted text."""
    for severity, stage, message in rows:
        icon, colour = SEVERITIES.get(severity, SEVERITIES["info"])
        st.markdown(f":{colour}-badge[{icon} {severity}] {plain(message, most=600)} "
                    f":gray[{plain(stage)}]")


def file_findings(rows: Sequence[Mapping[str, Any]]) -> None:
    """Findings of a file's triage, with their rule; messages may hold untrusted text."""
    for row in rows:
        icon, colour = SEVERITIES.get(row["severity"], SEVERITIES["info"])
        st.markdown(f":{colour}-badge[{icon} {row['severity']}] {plain(row['message'], most=400)} "
                    f":gray[{plain(row['rule'])}]")


def link(page: str, label: str, *, icon: str | None = None, **parameters: str) -> None:
    """A link to a page of the dashboard, in the same tab.

    Args:
        label: Markdown; untrusted text must be escaped.
    """
    st.page_link(f"app_pages/{page}.py", label=label, icon=icon, query_params=parameters)


def job_title(job: Job) -> str:
    """Title of a scan, as Markdown."""
    return plain(job.title or job.checkpoint_name, most=80)


def plotly(figure: object, *, key: str, alt: str, **options: object) -> object:
    """A chart without the tool bar, with a name for screen readers."""
    return st.plotly_chart(
        figure, key=key, alt=alt, config={"displayModeBar": False}, **options  # type: ignore
    )


def preset_choice(default: str, **options: Any) -> str:
    """Which preset a scan uses."""
    return str(st.segmented_control("Preset", list(PRESETS), default=default, required=True,
                                    format_func=str.capitalize, **options))


def seed_choice(value: int, **options: Any) -> int:
    """Which seed a scan uses."""
    return int(st.number_input(
        "Seed", min_value=0, max_value=LARGEST_SEED, value=value, step=1,
        help="The same seed gives the same result. Two seeds that agree make a result firmer.",
        **options,
    ))
