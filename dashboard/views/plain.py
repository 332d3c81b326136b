"""A finished scan in everyday words, on one page that prints well."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboard.requests import is_imported
from dashboard.text import count, label_name, percent, plain, when
from dashboard.views.actions import render_decisions
from dashboard.wording import VERDICTS, other_classes
from rnp_core import Disposition, Job, ScanReport, limits_of


def render(
    job: Job, report: ScanReport, pictures: Sequence[bytes], decisions: Sequence[Disposition]
) -> None:
    """What was asked, what was found, what it means, what to do.

    Args:
        pictures: an image as it is and with the recovered trigger, PNG; may be empty.
    """
    words = VERDICTS[report.verdict]
    with st.container(horizontal_alignment="center", gap=None), st.container(width=760):
        st.markdown(f"# :{words.colour}[{words.icon}] {words.title}", anchors=False)
        st.markdown(
            f"We checked the image classifier **{plain(report.model.file_name or job.title)}** on "
            f"{when(report.created_at)} for a hidden backdoor, with "
            f"{count(report.data.clean.count, 'clean image')}."
        )
        st.header("What it means", anchor=False)
        st.markdown(words.meaning)
        if report.verdict != "backdoored":
            st.markdown(f"**The reason:** {plain(report.verdict_reason, most=600)}")
        _found(report, pictures)
        st.header("What to do", anchor=False)
        st.markdown(words.advice)
        if report.was_repaired:
            accuracy = report.accuracy
            st.markdown(
                f"A repaired copy exists. On {count(accuracy.count, 'image')} that it has not seen "
                f"it is right in {percent(accuracy.clean_after)} of the cases (the original: "
                f"{percent(accuracy.clean_before)}), and the trigger that we recovered works in "
                f"{percent(accuracy.flip_rate_after)} (before: "
                f"{percent(accuracy.flip_rate_before)})."
            )
        st.header("What this check cannot say", anchor=False)
        st.markdown("\n".join(f"- {plain(text, most=400)}" for text in limits_of(report)))
        if decisions:
            st.header("Who decided what", anchor=False)
            render_decisions(decisions, imported=is_imported(job))
        st.caption(f"Scan {job.id} · version {plain(report.tool_version)} · "
                   f"SHA-256 {plain(report.model.sha256 or '–')}")


def _found(report: ScanReport, pictures: Sequence[bytes]) -> None:
    if not report.accuses:
        return
    st.header("What we found", anchor=False)
    if report.suspected_target_labels:
        label = label_name(report.suspected_target_labels[0], report.model.class_names)
        effect = f"images of {other_classes(report)} **{plain(label)}**"
    else:
        effect = "images of every class **something else**"
    change = "the change in the second picture" if len(pictures) >= 2 else "a small change"
    st.markdown(
        f"With {change}, the model calls {effect}"
        + (f" in {percent(report.accuracy.flip_rate_before)} of our tests."
           if report.accuracy.flip_rate_before is not None else ".")
    )
    if len(pictures) >= 2:
        with st.container(width=460):
            left, right = st.columns(2, wrap=False)
            left.image(pictures[0], width="stretch", caption="an ordinary image",
                       alt="An ordinary image")
            right.image(pictures[1], width="stretch", caption="with the recovered trigger",
                        alt="The image with the recovered trigger")
