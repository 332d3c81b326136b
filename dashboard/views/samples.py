"""Suspect images, sorted by suspicion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts import Triage
from dashboard.components.gallery import Tile, gallery
from dashboard.text import code, count, label_name, percent, plain
from dashboard.views.parts import plotly, reading
from dashboard.wording import READING
from rnp_core import SampleRow, ScanReport

GALLERY = "gallery"
"""Key of the wall of pictures."""


def render_title(found: Triage) -> None:
    """How many are flagged."""
    st.header(f"{found.flagged:,} of {count(len(found.samples), 'image')} flagged", anchor=False)


def render_overview(report: ScanReport, found: Triage) -> None:
    """How the scores lie."""
    if not report.was_repaired:
        reading(READING["samples-unlearned"])
    else:
        any_label = report.target_depends_on_image
        reading(READING["samples-any-label" if any_label else "samples"])
    with st.container(border=True):
        plotly(charts.suspicion_histogram(found), key="suspicion",
               alt="Distribution of the suspicion scores with the threshold")


def render_threshold(report: ScanReport, found: Triage, options: Mapping[str, Any]) -> bool:
    """The threshold and what it does; whether the scan's own one is wanted back."""
    own = report.sample_threshold
    if own is None or found.threshold is None:
        return False
    most = percent(float(report.config.get("max_sample_fpr", 0.01)))
    if not found.clean_scores:
        st.caption(f"Threshold {own:.2f}: chosen so that at most {most} of the held-out clean "
                   "images lie above it.")
        return False
    left, middle, right = st.columns([1.6, 1, 1])
    with left:
        st.slider("Threshold", 0.0, 1.0, step=0.01, format="%.2f", **options,
                  help="Suspects with a higher score are flagged.")
        st.caption(f"The scan chose {own:.2f}, so that at most {most} of the held-out clean images "
                   "lie above it.")
        back = not found.is_own and st.button("Back to the scan's threshold", type="tertiary",
                                              icon=":material/undo:")
    clean = len(found.clean_scores)
    middle.metric("Flagged suspects", f"{found.flagged:,}", f"of {len(found.samples):,}",
                  border=True, delta_color="off", delta_arrow="off", height="stretch")
    right.metric("False positives", percent(found.false_positives / clean, 1),
                 f"{found.false_positives:,} of {clean:,} clean images", border=True,
                 delta_color="off", delta_arrow="off", height="stretch",
                 help="Held-out clean images above the threshold: the share of harmless images "
                 "that it flags.")
    return back


def render_filter(
    report: ScanReport, found: Triage, *, on_change: Callable[[], None]
) -> list[SampleRow]:
    """The rows that the reader wants to see, the most suspicious first."""
    names = report.model.class_names
    present = sorted({row.predicted for row in found.samples})
    keep: dict[str, Callable[[SampleRow], bool]] = {
        "all": lambda row: True,
        "flagged": lambda row: row.flagged,
        "not flagged": lambda row: not row.flagged,
    }
    if report.was_repaired:
        keep["changed"] = lambda row: row.changed_by_repair
    with st.container(horizontal=True, vertical_alignment="bottom"):
        which = st.segmented_control(
            "Show", list(keep), default="all", required=True, key="which", on_change=on_change,
            format_func=str.capitalize, help="Changed: the repaired model gives another answer.",
        )
        label = st.selectbox(
            "Predicted label", present, index=None, placeholder="Any", width=220, key="which-label",
            format_func=lambda value: label_name(value, names), on_change=on_change,
        )
        text = st.text_input("File name contains", max_chars=100, width=220, key="which-text",
                             on_change=on_change)
    wanted = keep[which or "all"]
    return [row for row in found.ranked
            if wanted(row) and (label is None or row.predicted == label)
            and text.lower() in row.id.lower()]


def render_pages(pages: int, rows: int, options: Mapping[str, Any]) -> None:
    """Which page of the gallery, from 1."""
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.caption(count(rows, "image"), width="content")
        st.pagination(pages, width="stretch", **options)


def render_gallery(
    sheet: bytes, tiles: Sequence[Tile], *, columns: int, on_open: Callable[[], None]
) -> None:
    """The wall of pictures."""
    gallery(sheet, tiles, columns=columns, key=GALLERY, on_open=on_open)
    st.caption("The number is the suspicion score; ⚑ is flagged. Click a picture to open it.")


def render_table(
    table: pd.DataFrame, rows: Sequence[SampleRow], opened: int | None
) -> int | None:
    """A table where the report has no pictures; the index of the picked image, at first that of
    the ``opened`` one."""
    shown = {row.index for row in rows}
    listed = table[table["index"].isin(shown)].reset_index(drop=True)
    own = [int(place) for place in listed.index[listed["index"] == opened]]
    event = st.dataframe(listed, hide_index=True, on_select="rerun", selection_mode="single-row",
                         key=f"sample-table-{opened}", alt="Suspect images", height=320,
                         selection_default={"selection": {"rows": own}})
    picked = event["selection"]["rows"]
    return int(listed["index"][picked[0]]) if picked else None


def render_steps(place: int, total: int) -> str | None:
    """Buttons and keys to step through the images."""
    with st.container(horizontal=True, vertical_alignment="center"):
        previous = st.button("Previous", icon=":material/chevron_left:", shortcut="Left")
        following = st.button("Next", icon=":material/chevron_right:", shortcut="Right")
        where = f"{place + 1} of {total}" if place >= 0 else "outside of the filter"
        st.caption(where, width="content")
        close = st.button("Close", icon=":material/close:", type="tertiary", shortcut="Esc")
    return "previous" if previous else "next" if following else "close" if close else None


def render_sample(report: ScanReport, row: SampleRow, picture: bytes | None) -> None:
    """One image and what the three models say."""
    left, right = st.columns([1, 2.2], gap="medium")
    with left:
        if picture is not None:
            st.image(picture, width="stretch", alt=sample_title(report, row))
        else:
            st.caption("There is no picture of this image in the report.")
    with right:
        badge = (":orange-badge[:material/flag: flagged]" if row.flagged
                 else ":gray-badge[:material/check: not flagged]")
        st.markdown(f"### Image {row.index} {badge}", anchors=False)
        st.markdown(f"`{code(row.id, most=120)}` · suspicion score **{row.suspicion_score:.3f}**")
        names = report.model.class_names
        repaired = report.was_repaired
        said = [
            ("Original", row.predicted), ("Unlearned", row.predicted_unlearned),
            ("Repaired", row.predicted_repaired if repaired else None),
        ]
        with st.grid(3, min_column_width=130):
            for name, label in said:
                with st.container(border=True, height="stretch", gap="xsmall"):
                    st.caption(f"{name} model says")
                    shown = "–" if label is None else plain(label_name(label, names))
                    st.markdown(f"**{shown}**")
        if not repaired:
            st.markdown("Nothing was removed from this model, so there is no repaired one.")
        elif row.changed_by_repair:
            st.markdown(":material/arrow_forward: The repair changes the answer.")
        elif row.predicted_repaired is None:
            st.markdown("This answer is no suspected label, so the repaired model was not asked.")


def render_explain(*, possible: bool) -> bool:
    """Offer the maps that the scan did not make; whether they are wanted."""
    if not possible:
        st.caption("The scan makes Captum maps of the most suspicious flagged images only, and its "
                   "files are not here any more to make others.")
        return False
    with st.container(horizontal=True, vertical_alignment="center"):
        wanted = st.button("Which pixels decided?", icon=":material/visibility:", key="explain")
        st.caption("Makes the Captum maps of this image; takes some seconds.", width="content")
    return wanted


def render_csv(table: pd.DataFrame) -> None:
    """The flags at the threshold that is shown, as a file."""
    safe = table.copy()
    for column in safe.select_dtypes(exclude=["number", "bool"]):
        safe[column] = ["'" + text if text[:1] in tuple("=+-@\t\r") else text
                        for text in safe[column].astype(str)]
    st.download_button("Download the flags (CSV)", lambda: safe.to_csv(index=False),
                       file_name="flags.csv", mime="text/csv", icon=":material/download:",
                       on_click="ignore")


def sample_title(report: ScanReport, row: SampleRow) -> str:
    """Name of an image for screen readers; untrusted text."""
    said = label_name(row.predicted, report.model.class_names)
    flagged = ", flagged" if row.flagged else ""
    return f"Image {row.index}, {said}, suspicion {row.suspicion_score:.2f}{flagged}"
