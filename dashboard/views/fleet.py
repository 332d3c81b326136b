"""Many models ranked by suspicion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard import charts
from dashboard.requests import is_imported
from dashboard.text import count, plain, when
from dashboard.views.parts import job_title, link, plotly, reading, verdict_badge
from dashboard.wording import STATE_WORDS
from rnp_core import Job


def render_choice(tags: Sequence[str], options: Mapping[str, Any]) -> None:
    """Which fleet; empty for all models."""
    st.selectbox("Fleet", ["", *tags], width=380, **options,
                 format_func=lambda tag: tag.removeprefix("fleet:") if tag else "All models")


def render_progress(counts: Mapping[str, Mapping[str, int]]) -> None:
    """How far the triages and the scans are.

    Args:
        counts: how many are in which state, by kind.
    """
    for kind, states in counts.items():
        total = sum(states.values())
        ended = total - states["queued"] - states["running"]
        if ended < total:
            st.progress(ended / total, text=f"{ended:,} of {count(total, kind)} ended, "
                        f"{states['running']} running, {states['queued']} waiting")


def render_numbers(ranked: Sequence[Job], failed: int) -> None:
    """How many models have which verdict."""
    verdicts = Counter(job.verdict for job in ranked)
    grid = st.grid(6 if verdicts[None] else 5, min_column_width=150)
    for name, value in (
        ("Models", len(ranked) + failed), ("Backdoored", verdicts["backdoored"]),
        ("Suspicious", verdicts["suspicious"]), ("No evidence", verdicts["no_evidence"]),
        ("Undecided or failed", verdicts["inconclusive"] + verdicts["error"] + failed),
        ("Triaged only", verdicts[None]),
    ):
        if value or name != "Triaged only":
            grid.metric(name, f"{value:,}", border=True)


def render_distribution(ranked: Sequence[Job]) -> None:
    """Distribution of the scores."""
    st.header("Distribution of scores", anchor=False)
    with st.container(border=True):
        plotly(charts.score_histogram(ranked), key="fleet-scores",
               alt="Number of models by backdoor score and verdict")
        reading("How to read it: most innocent models lie on the left. What stands apart on the "
                "right comes first in the table.")


def render_table(ranked: Sequence[Job], picked: int | None, *, key: str) -> int | None:
    """Models ranked by score; the row that is picked, at first ``picked``."""
    st.header("Ranking", anchor=False)
    event = st.dataframe(
        charts.rank_table(ranked), hide_index=True, on_select="rerun", selection_mode="single-row",
        key=key, selection_default={"selection": {"rows": [] if picked is None else [picked]}},
        alt="Models, the most suspicious first", row_height=38,
        height=min(680, 38 * (1 + max(1, len(ranked)))), placeholder="–",
        column_config={
            "rank": st.column_config.NumberColumn(width=46),
            "verdict": st.column_config.TextColumn(width=114),
            "score": st.column_config.ProgressColumn(min_value=0.0, max_value=1.0, format="%.2f",
                                                     width=92),
            "model": st.column_config.TextColumn(width=240),
            "suspected": st.column_config.TextColumn("suspected labels"),
            "scanned": st.column_config.DatetimeColumn("scanned, UTC", format="D MMM YYYY, HH:mm"),
            "sha256": st.column_config.TextColumn("SHA-256"),
        },
    )
    rows = event["selection"]["rows"]
    return rows[0] if rows and rows[0] < len(ranked) else None


def render_chosen(job: Job | None) -> None:
    """The picked model, with the way to its verdict."""
    if job is None:
        st.caption("Pick a row to look into a model.")
        return
    facts = [plain(job.checkpoint_name, most=60), when(job.finished_at),
             *(["imported"] if is_imported(job) else [])]
    with st.container(border=True, key="chosen", horizontal=True, vertical_alignment="center"):
        st.markdown(f"{verdict_badge(job.verdict, job.state)} **{job_title(job)}** "
                    f":gray[{' · '.join(facts)}]")
        if job.kind == "scan":
            link("verdict", "Open", icon=":material/shield:", scan=job.id)
        else:
            st.caption("The fleet collected the cheap evidence only. Its score compares with those "
                       "of other triages, not with those of scans.")


def render_failures(failed: Sequence[Job]) -> None:
    """Jobs that ended without a verdict; they never count as harmless."""
    if not failed:
        return
    with st.expander(f"{count(len(failed), 'model')} without a verdict",
                     icon=":material/error:"):
        for job in failed[:50]:
            link("live", job_title(job), icon=STATE_WORDS[job.state][1], job=job.id)
            st.caption(plain(job.error, most=160))
