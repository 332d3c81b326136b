"""What a person does with a finished scan: decide, tag, download, scan again."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st

from dashboard.requests import AGAIN, IMPORTED, is_imported
from dashboard.text import plain, when
from dashboard.views.parts import (
    LARGEST_SEED,
    link,
    preset_choice,
    seed_choice,
    verdict_badge,
)
from dashboard.wording import DISPOSITIONS
from rnp_core import Disposition, Job, ScanReport, ScanRequest, render_report

_KEPT_TAGS = ("fleet:", "repaired:", AGAIN)
"""Beginnings of tags that tie scans together; people do not edit them."""

_MOST_LINKS = 5


def render_decisions(decisions: Sequence[Disposition], *, imported: bool = False) -> None:
    """Every decision so far, the latest first.

    Args:
        imported: whether the scan came as a file, which may have brought decisions.
    """
    if not decisions:
        st.caption("Nobody has decided on this scan yet.")
    elif imported:
        st.caption("This scan came as a file. Decisions that were in it are shown as the imported "
                   "file says; nobody has checked them, and nothing tells them from those that "
                   "were made here.")
    for row in reversed(decisions):
        name, icon = DISPOSITIONS[row.disposition]
        note = f": {plain(row.note)}" if row.note else ""
        st.markdown(f":blue-badge[{icon} {name}] **{plain(row.reviewer)}**{note} "
                    f":gray[{when(row.time)}]")


def render_decision_form(
    *, name: str, name_is_fixed: bool, on_decide: Callable[[str, str, str], None]
) -> None:
    """A form for one more decision."""
    with st.expander("Decide", icon=":material/gavel:"), st.form("decision", border=False):
        decision = st.segmented_control(
            "Decision", list(DISPOSITIONS), required=True, default="confirmed",
            format_func=lambda key: f"{DISPOSITIONS[key][1]} {DISPOSITIONS[key][0]}",
        )
        reviewer = st.text_input("Your name", value=name, disabled=name_is_fixed, max_chars=80)
        note = st.text_area("Note", max_chars=2000, placeholder="What did you check?", height=90)
        if st.form_submit_button("Save the decision", type="primary"):
            if not reviewer.strip():
                st.error("Enter your name first.")
            else:
                on_decide(str(decision), reviewer, note)
                st.rerun()


def render_tags(job: Job) -> list[str] | None:
    """Tags of a scan; the new list when it was changed."""
    hidden = [tag for tag in job.tags if tag.startswith(_KEPT_TAGS) or tag == IMPORTED]
    shown = [tag for tag in job.tags if tag not in hidden]
    chosen = st.multiselect("Tags", shown, default=shown, accept_new_options=True,
                            placeholder="Add a tag", key=f"tags-{job.id}")
    new = [tag[:60] for tag in chosen]
    return [*hidden, *new] if sorted(new) != sorted(shown) else None


def render_downloads(job: Job, report: ScanReport, repaired: Path | None) -> None:
    """Buttons for the report in its forms, and the repaired model where there is one."""
    stem = "".join(c if c.isalnum() else "-" for c in job.title)[:40].strip("-") or "scan"
    with st.container(horizontal=True):
        if repaired is not None:
            st.download_button(
                "Repaired model", lambda: repaired.read_bytes(), type="primary",
                file_name=f"{stem}-repaired.safetensors", icon=":material/healing:",
                on_click="ignore", mime="application/octet-stream", key="repaired",
            )
        st.download_button("Report (JSON)", lambda: report.to_json(), key="json",
                           file_name=f"{stem}-report.json", icon=":material/data_object:",
                           mime="application/json", on_click="ignore")
        for name, (label, mime, ending, about) in _FORMATS.items():
            st.download_button(
                label, functools.partial(render_report, job.run_folder, name), key=name, mime=mime,
                file_name=f"{stem}.{ending}", icon=":material/download:", on_click="ignore",
                help=about,
            )


_FORMATS = {
    "html": ("HTML", "text/html", "html", "The whole report on one page, for the browser."),
    "pdf": ("PDF", "application/pdf", "pdf", "The same page to print or to file."),
    "sarif": ("SARIF", "application/sarif+json", "sarif", "The findings for code scanning tools."),
    "mlbom": ("ML-BOM", "application/vnd.cyclonedx+json", "cdx.json",
              "CycloneDX bill of materials of the model."),
    "card": ("Model card", "text/markdown", "md", "A section for the model's card, in Markdown."),
}
"""Label, media type, ending and use of each form of ``rnp_core.render_report``."""


def render_rescan(job: Job, repaired: Path, earlier: Sequence[Job]) -> ScanRequest | None:
    """Offer a scan of the repaired model; the request when the button was pressed."""
    for row in earlier:
        _render_other(job, row, "the scan of the repaired model")
    clean = job.request.clean
    if clean is None or is_imported(job) or not Path(clean).exists():
        return None
    pressed = st.button(
        "Scan the repaired model", icon=":material/restart_alt:",
        help="Runs the same scan on the repaired weights, so that you can compare the two.",
    )
    return dataclasses.replace(job.request, checkpoint=str(repaired)) if pressed else None


def render_again(job: Job, others: Sequence[Job], *, possible: bool) -> tuple[str, int] | None:
    """Links to scans of the same files, and a form for one more; preset and seed when its button
    was pressed.

    Args:
        possible: whether the files are still there.
    """
    for row in others[:_MOST_LINKS]:
        _render_other(job, row, f"the {row.request.preset} scan with seed {row.request.seed}")
    if not possible:
        return None
    unused = 1 + max(row.request.seed for row in (job, *others))
    with st.expander("Scan again", icon=":material/replay:"):
        with st.form("again", border=False):
            preset = preset_choice(job.request.preset)
            seed = seed_choice(unused if unused <= LARGEST_SEED else 0)
            pressed = st.form_submit_button("Scan again", icon=":material/replay:")
        link("scan", "Scan with other images", icon=":material/upload_file:", **{"from": "own"})
    return (preset, seed) if pressed else None


def _render_other(job: Job, other: Job, name: str) -> None:
    """Where another scan stands, with the way to it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(verdict_badge(other.verdict, other.state), width="content")
        if other.state == "done":
            link("compare", f"Compare with {name}", a=job.id, b=other.id)
        else:
            link("live", f"See {name}", job=other.id)
