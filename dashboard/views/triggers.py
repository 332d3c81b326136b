"""Recovered triggers and what they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard import charts
from dashboard.components.slider import compare_slider
from dashboard.text import count, label_name, label_names, number, percent, plain
from dashboard.views.parts import plotly, reading
from dashboard.wording import KINDS, READING
from rnp_core import ScanReport, TriggerRow


def render_choice(report: ScanReport, names: Sequence[str], options: Mapping[str, Any]) -> None:
    """Which of several triggers to look at."""
    rows = dict(zip(names, report.triggers, strict=True))
    classes = report.model.class_names
    suspected = report.suspected_target_labels

    def title(name: str) -> str:
        row = rows[name]
        sign = " ⚑" if row.label < 0 or row.label in suspected else ""
        return f"{label_name(row.label, classes)} · {row.kind}{sign}"

    st.selectbox("Trigger, the most suspicious label first", list(names), format_func=title,
                 width=340, **options)


def render_title(report: ScanReport, row: TriggerRow) -> None:
    """What this trigger is and how well it works."""
    name = plain(label_name(row.label, report.model.class_names))
    st.header(f"Trigger for {name}", anchor=False)
    reading(READING["triggers"])
    grid = st.grid(3, min_column_width=150)
    grid.metric("Kind", plain(row.kind), border=True, help=KINDS.get(row.kind, ""))
    grid.metric("Flip rate, original", percent(row.flip_rate), border=True,
                help=f"Estimated on {'some of ' if row.sources else ''}"
                f"{count(report.accuracy.count, 'held-out clean image')} "
                f"(size of the trigger: {number(row.norm, 1)}).")
    grid.metric("Flip rate, repaired", percent(row.flip_rate_repaired), border=True)
    if row.sources:
        sources = label_names(row.sources, report.model.class_names)
        st.caption(f"Searched on images of these classes only: {plain(sources)}.")


def render_pictures(
    mask: bytes | None, pattern: bytes | None, tiles: Sequence[bytes]
) -> None:
    """Mask, pattern and an example.

    Args:
        tiles: image, with the trigger, amplified difference, what the trigger paints.
    """
    shown = [
        (mask, "mask: where it acts", "Trigger mask"),
        (pattern, "pattern", "Trigger pattern"),
        *zip(tiles[:3], ("an image", "with the trigger", "difference × 3"),
             ("A clean image", "The image with the trigger", "Amplified difference"), strict=False),
    ]
    with st.grid(5, min_column_width=120):
        for picture, caption, alt in shown:
            if picture is not None:
                st.image(picture, width="stretch", caption=caption, alt=alt)


def render_example_choice(examples: int, *, can_paste: bool) -> tuple[bytes | None, int]:
    """Which example to show: (uploaded picture, number of the stored one from 1)."""
    st.header("Before and after", anchor=False)
    number_of = 1
    upload = None
    if examples > 1:
        number_of = st.slider("Example", 1, examples, 1, key="example", width=300)
    if can_paste:
        with st.expander("Paste it on my image", icon=":material/add_photo_alternate:"):
            file = st.file_uploader("A PNG or JPEG picture", type=["png", "jpg", "jpeg", "webp"],
                                    key="paste", max_upload_size=25)
            upload = file.getvalue() if file is not None else None
            st.caption("It is resized to the model's input, used for this view only and not kept.")
    else:
        st.caption("The report does not keep enough of this trigger to put it on other images.")
    return upload, number_of


def render_before_after(before: bytes, after: bytes, change: bytes, *, key: str) -> None:
    """Slider between two pictures, and their difference."""
    left, right = st.columns(2)
    with left:
        compare_slider(before, after, key=key, names=("without", "with trigger"),
                       name="Before and after the trigger, move to compare")
    with right:
        st.image(change, width="stretch", alt="Amplified difference of the two pictures",
                 caption="difference × 3; grey is unchanged")


def render_ask() -> bool:
    """A switch that asks the models about the pictures above; whether it is on."""
    return st.toggle("What do the models say?", key="ask-models",
                     help="Runs the original and the repaired model on the two pictures; takes "
                     "some seconds.")


def render_answers(answers: Mapping[str, Sequence[tuple[int, float]]], names: list[str]) -> None:
    """The answer of each model without and with the trigger.

    Args:
        answers: label and probability of the two pictures by model.
    """
    for model, (before, after) in answers.items():
        with st.container(border=True, gap="xsmall"):
            st.markdown(f"**{model.capitalize()} model**")
            for when, (label, share) in (("without", before), ("with the trigger", after)):
                st.markdown(f":gray[{when}]  \n{plain(label_name(label, names))}, "
                            f"{percent(share)} sure")


def render_flip_rates(report: ScanReport, row: TriggerRow) -> None:
    """Rates by class, on the original and the repaired model."""
    if not row.flip_rate_per_class:
        return
    st.header("For which classes it works", anchor=False)
    with st.container(border=True):
        plotly(
            charts.flip_rates(row.flip_rate_per_class, row.flip_rate_per_class_repaired,
                              report.model.class_names),
            key="flips", alt="Flip rate by class on the original and the repaired model",
        )
        reading(READING["flips"])
