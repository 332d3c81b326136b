"""The live scan: stages, growing curves, place in the queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

import streamlit as st

from dashboard import charts
from dashboard.text import count, duration, plain
from dashboard.views.parts import link, plotly, reading, verdict_badge
from dashboard.wording import FAILED_ADVICE, STAGE_ALIASES, STAGES, STATE_WORDS
from rnp_core import FINAL_STATES, Job, JobEvent, seconds_left, time_left

_ORDER = [name for name, _, _ in STAGES]


def render_progress(job: Job, position: int | None, events: Sequence[JobEvent]) -> None:
    """Bar and one line on where the scan stands and how long it still takes."""
    if job.state == "queued":
        ahead = (position or 1) - 1
        text = "next in the queue" if ahead == 0 else f"{count(ahead, 'scan')} before this one"
        st.progress(0.0, text=f"Waiting: {text}")
        return
    title = next((title for name, title, _ in STAGES if name == _stage(job.stage)), "Starting")
    left = seconds_left(reversed(events), time.time())
    more = "" if left is None else f" · {time_left(left)}"
    st.progress(min(1.0, max(0.0, job.fraction)), text=f"{title} · {duration(_seconds(job))}{more}")


def render_work(job: Job, events: Sequence[JobEvent], names: list[str]) -> None:
    """Stages beside what they measured so far; nothing for a scan that ended before any."""
    if job.state in FINAL_STATES and all(event.stage == "job" for event in events):
        return
    left, right = st.columns([1, 2.2], gap="large")
    with left:
        _render_stages(job, events)
    with right:
        _render_curves(events, names, later="Not measured." if job.state in FINAL_STATES
                       else "Comes next.")


def _render_stages(job: Job, events: Sequence[JobEvent]) -> None:
    """All stages with what each means; the one that runs or ran last stands out."""
    skipped = _skipped(job, events)
    current = _ORDER.index(_stage(job.stage)) if _stage(job.stage) in _ORDER else -1
    latest = next((event for event in reversed(events) if event.stage != "job"), None)
    for place, (name, title, meaning) in enumerate(STAGES):
        if place < current and name in skipped:
            st.markdown(f":gray[:material/remove: {title}, {skipped[name]}]", help=meaning)
        elif job.state == "done" or place < current:
            st.markdown(f":green[:material/check_circle:] {title}", help=meaning)
        elif place == current and job.state == "running":
            with st.container(border=True, gap="xsmall"):
                st.markdown(f":blue[:material/pending:] **{title}**")
                st.caption(meaning)
                if latest is not None and latest.total > 0:
                    note = f" · {plain(latest.message, most=60)}" if latest.message else ""
                    st.caption(f"step {latest.step} of {latest.total}{note}")
        elif place == current and job.state in FINAL_STATES:
            word, icon, colour = STATE_WORDS[job.state]
            st.markdown(f":{colour}[{icon}] **{title}**, {word.lower()}", help=meaning)
        else:
            st.markdown(f":gray[:material/radio_button_unchecked: {title}]", help=meaning)


def _skipped(job: Job, events: Sequence[JobEvent]) -> dict[str, str]:
    """Stages that this scan does or may do without, with words for that.

    The samples stage reports no progress, and suspects may lie inside the checkpoint.
    """
    found = {}
    if all(_stage(event.stage) != "removal" for event in events):
        found["removal"] = "not needed"
    if job.request.suspects is None:
        found["samples"] = "if there are any"
    return found


def _render_curves(events: Sequence[JobEvent], names: list[str], *, later: str) -> None:
    """What the stages measured so far; where there is nothing yet, ``later`` keeps the place."""
    events = _last_attempts(events)
    shares = [event.values["shares"] for event in events if "shares" in event.values]
    with st.container(border=True):
        st.markdown("**Where the answers go while the model unlearns**")
        if shares:
            plotly(charts.share_curves(shares, names), key="live-shares",  # type: ignore[arg-type]
                   alt="Share of answers by label while unlearning")
            reading("The leading label need not be the target; the verdict weighs all evidence.")
        else:
            _render_nothing(later, charts.SHARES_HEIGHT)
    left, right = st.columns(2)
    with left.container(border=True):
        st.markdown("**Accuracy while unlearning**")
        accuracy = _numbers(events, "unlearn", "accuracy")
        if accuracy:
            stops = _numbers(events, "unlearn", "stop_accuracy")
            stop = stops[-1] if stops else None
            plotly(charts.accuracy_curve(accuracy, stop=stop), key="live-unlearn",
                   alt=f"Accuracy while unlearning, now {accuracy[-1]:.2f}")
        else:
            _render_nothing(later, charts.SMALL_HEIGHT)
    with right.container(border=True):
        _render_latest(events, names, later=later)


def _render_latest(events: Sequence[JobEvent], names: list[str], *, later: str) -> None:
    """Trigger sizes once there are some, before that what the masks do."""
    triggers = _widest_look(events)
    masks = _lists(events, "recover", "mask_histogram")
    accuracy = _numbers(events, "recover", "accuracy")
    if triggers:
        sizes, labels = triggers
        st.markdown("**Size of the smallest trigger by label**")
        plotly(charts.trigger_sizes(sizes, labels, names), key="live-sizes",
               alt="Size of the recovered trigger by label")
    elif masks:
        st.markdown(f"**Filter masks while they recover**, accuracy {accuracy[-1]:.2f}"
                    if accuracy else "**Filter masks while they recover**")
        plotly(charts.mask_histogram(masks[-1]), key="live-masks",
               alt="How many filters have which mask value")
    else:
        st.markdown("**Accuracy while the masks recover**")
        if accuracy:
            plotly(charts.accuracy_curve(accuracy), key="live-recover",
                   alt=f"Accuracy while recovering, now {accuracy[-1]:.2f}")
        else:
            _render_nothing(later, charts.SMALL_HEIGHT)


def _last_attempts(events: Sequence[JobEvent]) -> list[JobEvent]:
    """The events without those of a stage that began again later, as after a restart."""
    kept: list[JobEvent] = []
    following: dict[str, int] = {}  # by stage, the step of the event that came next
    for event in reversed(events):
        if event.step <= following.get(event.stage, event.step):
            kept.append(event)
            following[event.stage] = event.step
    return kept[::-1]


def _numbers(events: Sequence[JobEvent], stage: str, name: str) -> list[float]:
    values = [event.values.get(name) for event in events if event.stage == stage]
    return [float(value) for value in values if isinstance(value, (int, float))]


def _lists(events: Sequence[JobEvent], stage: str, name: str) -> list[list[float]]:
    values = [event.values.get(name) for event in events if event.stage == stage]
    return [value for value in values if isinstance(value, list) and value]


def _widest_look(events: Sequence[JobEvent]) -> tuple[list[float], list[int]] | None:
    """Sizes of triggers and their labels, of the latest report on the most labels: looks at a few
    of them may be of another kind, in another unit."""
    found = [
        (sizes, [int(label) for label in labels])
        for sizes, labels in zip(
            _lists(events, "triggers", "sizes"), _lists(events, "triggers", "labels"), strict=False
        )
        if len(sizes) == len(labels)
    ]
    most = max((len(labels) for _, labels in found), default=0)
    return next((look for look in reversed(found) if len(look[1]) == most), None)


def _render_nothing(text: str, height: int) -> None:
    """The place of a chart that has nothing to show."""
    with st.container(height=height, border=False, vertical_alignment="center",
                      horizontal_alignment="center"):
        st.caption(text, width="content")


def render_ended(job: Job, *, on_resume: Callable[[], None]) -> None:
    """A scan that ended without a verdict, and what can be done."""
    words = {
        "failed": ("The scan failed", st.error),
        "cancelled": ("The scan was cancelled", st.info),
        "interrupted": ("The scan was interrupted", st.warning),
    }
    title, box = words[job.state]
    reason = plain(job.error, most=600) or "No reason was given."
    failed = job.state == "failed"
    more = FAILED_ADVICE if failed else "Finished stages are kept: go on where it stopped."
    box(f"{reason}\n\n{more}", title=title)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Try again" if failed else "Go on", type="primary",
                  icon=":material/play_arrow:", on_click=on_resume)
        if failed:
            link("scan", "Scan with other files or settings", icon=":material/upload_file:",
                 **{"from": "own"})


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
