"""The live scan: stages, growing curves, place in the queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone

import streamlit as st

from dashboard import charts
from dashboard.text import count, duration, plain
from dashboard.views.parts import plotly, verdict_badge
from dashboard.wording import STAGE_ALIASES, STAGES
from rnp_core import Job, JobEvent

_ORDER = [name for name, _, _ in STAGES]


def render_progress(job: Job, position: int | None) -> None:
    """Bar and one line on where the scan stands."""
    if job.state == "queued":
        ahead = (position or 1) - 1
        text = "next in the queue" if ahead == 0 else f"{count(ahead, 'scan')} before this one"
        st.progress(0.0, text=f"Waiting: {text}")
        return
    title = next((title for name, title, _ in STAGES if name == _stage(job.stage)), "Starting")
    st.progress(min(1.0, max(0.0, job.fraction)), text=f"{title} · {duration(_seconds(job))}")


def render_stages(job: Job, events: Sequence[JobEvent]) -> None:
    """All stages with what each means; the running one stands out."""
    current = _ORDER.index(_stage(job.stage)) if _stage(job.stage) in _ORDER else -1
    latest = next((event for event in reversed(events) if event.stage != "job"), None)
    for place, (_, title, meaning) in enumerate(STAGES):
        if job.state == "done" or place < current:
            st.markdown(f":green[:material/check_circle:] {title}", help=meaning)
        elif place == current and job.state == "running":
            with st.container(border=True, gap="xsmall"):
                st.markdown(f":blue[:material/pending:] **{title}**")
                st.caption(meaning)
                if latest is not None and latest.total > 0:
                    note = f" · {plain(latest.message, most=60)}" if latest.message else ""
                    st.caption(f"step {latest.step} of {latest.total}{note}")
        else:
            st.markdown(f":gray[:material/radio_button_unchecked: {title}]", help=meaning)


def render_curves(events: Sequence[JobEvent], names: list[str], *, stop: float) -> None:
    """What the stages measured so far."""
    unlearned = [event.values for event in events if event.stage == "unlearn" and event.values]
    recovered = [event.values for event in events if event.stage == "recover" and event.values]
    sizes = [event.values["sizes"] for event in events if event.values.get("sizes")]
    if not unlearned:
        with st.container(border=True, height=280, vertical_alignment="center",
                          horizontal_alignment="center"):
            st.markdown(":gray[The first curve appears when unlearning starts.]", width="content")
        return
    with st.container(border=True):
        st.markdown("**Where the answers go while the model unlearns**")
        shares = [values["shares"] for values in unlearned if "shares" in values]
        plotly(charts.share_curves(shares, names), key="live-shares",
               alt="Share of answers by label while unlearning")
    left, right = st.columns(2)
    with left.container(border=True):
        st.markdown("**Accuracy while unlearning**")
        accuracy = [float(values["accuracy"]) for values in unlearned]  # type: ignore[arg-type]
        plotly(charts.accuracy_curve(accuracy, stop=stop), key="live-unlearn",
               alt=f"Accuracy while unlearning, now {accuracy[-1]:.2f}")
    with right.container(border=True):
        if sizes:
            st.markdown("**Size of the smallest trigger by label**")
            plotly(charts.trigger_sizes(sizes[-1], names), key="live-sizes",  # type: ignore
                   alt="Size of the recovered trigger by label")
        elif recovered and recovered[-1].get("mask_histogram"):
            st.markdown("**Filter masks**")
            plotly(charts.mask_histogram(recovered[-1]["mask_histogram"]),  # type: ignore
                   key="live-masks", alt="How many filters have which mask value")
        elif recovered:
            st.markdown("**Accuracy while the masks recover**")
            accuracy = [float(values["accuracy"]) for values in recovered]  # type: ignore
            plotly(charts.accuracy_curve(accuracy), key="live-recover",
                   alt=f"Accuracy while recovering, now {accuracy[-1]:.2f}")
        else:
            st.markdown("**Accuracy while the masks recover**")
            st.container(height=230, border=False).caption("Comes next.")


def render_ended(job: Job, *, on_resume: Callable[[], None]) -> None:
    """A scan that ended without a verdict, and what can be done."""
    words = {
        "failed": ("The scan failed", st.error),
        "cancelled": ("The scan was cancelled", st.info),
        "interrupted": ("The scan was interrupted", st.warning),
    }
    title, box = words[job.state]
    reason = plain(job.error, most=600) or "No reason was given."
    more = "Finished stages are kept: go on where it stopped."
    box(f"{reason}\n\n{more}" if job.state != "failed" else reason, title=title)
    st.button("Go on" if job.state != "failed" else "Try again", type="primary",
              icon=":material/play_arrow:", on_click=on_resume)


def render_title(job: Job) -> None:
    """Name and state of the scan."""
    st.title(plain(job.title or job.checkpoint_name, most=80), anchor=False)
    st.markdown(f"{verdict_badge(job.verdict, job.state)} "
                f":gray[{plain(job.checkpoint_name)} · {job.request.preset} preset]")


def _stage(name: str) -> str:
    return STAGE_ALIASES.get(name, name)


def _seconds(job: Job) -> float:
    if not job.started_at:
        return 0.0
    end = datetime.fromisoformat(job.finished_at) if job.finished_at else datetime.now(timezone.utc)
    return max(0.0, (end - datetime.fromisoformat(job.started_at)).total_seconds())
