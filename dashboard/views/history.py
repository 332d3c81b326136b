"""The table of all scans, with filters and what can be done with the chosen ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard import charts
from dashboard.requests import is_imported
from dashboard.text import count, plain, when
from dashboard.views.parts import job_title, link, verdict_badge
from dashboard.wording import DISPOSITIONS, STATE_WORDS, VERDICT_SHORT
from rnp_core import Job

NARROWED: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "verdict": ("Verdict", {k: v for k, v in VERDICT_SHORT.items() if k != "error"}),
    "state": ("State", {name: words[0] for name, words in STATE_WORDS.items()}),
    "disposition": ("Decision", {name: words[0] for name, words in DISPOSITIONS.items()}),
}
"""What the history can be narrowed by: field of the filter to its name and its values."""


def render_filters(options: Callable[[str], Mapping[str, Any]]) -> None:
    """Search text, verdict, state and decision.

    Args:
        options: gives the options that tie a widget to the parameter of its name.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("Search", placeholder="Name, file, tag, note or start of a SHA-256",
                      icon=":material/search:", max_chars=100, width=420, **options("q"))
        for field, (name, words) in NARROWED.items():
            st.selectbox(name, list(words), index=None, placeholder="Any", width=170,
                         format_func=words.__getitem__, **options(field))


def render_table(jobs: Sequence[Job], *, key: str) -> list[int]:
    """The scans; rows that were picked."""
    event = st.dataframe(
        charts.job_table(jobs), hide_index=True, key=key, on_select="rerun",
        selection_mode="multi-row", alt="Scans, the newest first", row_height=38,
        height=min(640, 38 * (1 + max(1, len(jobs)))), placeholder="–",
        column_config={
            "verdict": st.column_config.TextColumn(width=114),
            "score": st.column_config.ProgressColumn(min_value=0.0, max_value=1.0, format="%.2f",
                                                     width=92),
            "name": st.column_config.TextColumn(width=240),
            "suspected": st.column_config.TextColumn("suspected labels", width=130),
            "started": st.column_config.DatetimeColumn("started, UTC", format="D MMM YYYY, HH:mm",
                                                        width=150),
            "note": st.column_config.TextColumn(width=140),
            "tags": st.column_config.ListColumn(width=140),
            "sha256": st.column_config.TextColumn("SHA-256", width=120),
        },
    )
    return [row for row in event["selection"]["rows"] if row < len(jobs)]


def render_chosen(
    jobs: Sequence[Job], *, on_delete: Callable[[str], None], on_resume: Callable[[str], None],
    on_cancel: Callable[[str], None], archive: Callable[[str], bytes],
) -> None:
    """What can be done with the picked scans."""
    if not jobs:
        st.caption("Pick a row to open a scan, two rows to compare them.")
        return
    if len(jobs) == 2:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{job_title(jobs[0])}** and **{job_title(jobs[1])}**")
            if all(job.state == "done" for job in jobs):
                link("compare", "Compare the two", icon=":material/compare:", a=jobs[1].id,
                     b=jobs[0].id)
            else:
                st.caption("Only finished scans can be compared.")
        return
    if len(jobs) > 2:
        st.caption("Pick one row to open a scan, or two to compare them.")
        return
    _render_one(jobs[0], on_delete, on_resume, on_cancel, archive)


def _render_one(
    job: Job, on_delete: Callable[[str], None], on_resume: Callable[[str], None],
    on_cancel: Callable[[str], None], archive: Callable[[str], bytes],
) -> None:
    with st.container(border=True, key="chosen"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"### {job_title(job)}", anchors=False, width="content")
            st.markdown(verdict_badge(job.verdict, job.state), width="content")
        facts = [plain(job.checkpoint_name, most=60), f"{job.request.preset} preset",
                 f"seed {job.request.seed}", when(job.created_at)]
        st.caption(" · ".join(facts) + f" · sha256 `{job.checkpoint_sha256}`")
        if job.error:
            st.markdown(f":gray[{plain(job.error, most=300)}]")
        if job.disposition is not None:
            name, icon = DISPOSITIONS[job.disposition.disposition]
            note = f": {plain(job.disposition.note)}" if job.disposition.note else ""
            origin = " :gray[imported scan]" if is_imported(job) else ""
            st.markdown(f":blue-badge[{icon} {name}] {plain(job.disposition.reviewer)}{note}"
                        f"{origin}")
        with st.container(horizontal=True, vertical_alignment="center"):
            if job.state == "done":
                link("verdict", "Open", icon=":material/shield:", scan=job.id)
                st.download_button(
                    "Export", lambda: archive(job.id), file_name=f"scan-{job.id}.zip",
                    mime="application/zip", icon=":material/archive:", on_click="ignore",
                    help="The whole scan in one file, to import elsewhere.",
                )
            else:
                link("live", "Open", icon=":material/monitoring:", job=job.id)
            if job.state in ("failed", "cancelled", "interrupted"):
                st.button("Run again", icon=":material/play_arrow:", on_click=on_resume,
                          args=(job.id,))
            if job.state in ("queued", "running"):
                st.button("Cancel", icon=":material/cancel:", on_click=on_cancel, args=(job.id,))
            else:
                with st.popover("Delete", icon=":material/delete:"):
                    st.markdown("Delete this scan with its report, pictures and repaired model?")
                    st.button("Delete for good", type="primary", on_click=on_delete,
                              args=(job.id,))


def render_import() -> Any:
    """An uploader for a scan that was exported elsewhere; the file, or None."""
    with st.popover("Import a scan", icon=":material/unarchive:"):
        return st.file_uploader("A scan that was exported elsewhere (zip)", type=["zip"],
                                key="import")


def render_total(shown: int, total: int) -> None:
    """How many scans there are."""
    st.caption(count(total, "scan") if shown == total else f"{shown} of {count(total, 'scan')}")
