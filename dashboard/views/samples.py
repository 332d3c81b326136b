"""Suspect images, sorted by suspicion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.components.gallery import Tile, gallery
from dashboard.components.slider import compare_slider
from dashboard.pictures import difference, open_picture, png
from dashboard.views.parts import plotly, reading
from dashboard.wording import METHODS, READING, count, label_name, percent, plain
from rnp_core import SampleRow, ScanReport

GALLERY = "gallery"
"""Key of the wall of pictures."""

_FILTERS = ("all", "flagged", "not flagged", "changed by the repair")


def render_overview(report: ScanReport) -> None:
    """How many are flagged, and what the threshold means."""
    flagged = sum(row.flagged for row in report.samples)
    fpr = float(report.config.get("max_sample_fpr", 0.01))
    st.header(f"{count(flagged, 'image')} of {len(report.samples):,} flagged", anchor=False)
    reading(READING["samples"])
    with st.container(border=True):
        plotly(
            charts.suspicion_histogram([row.suspicion_score for row in report.samples],
                                       report.sample_threshold),
            key="suspicion", alt="Distribution of the suspicion scores with the threshold",
        )
        if report.sample_threshold is not None:
            st.caption(
                f"Threshold {report.sample_threshold:.2f}: chosen so that at most {percent(fpr)} "
                f"of {count(report.accuracy.count, 'held-out clean image')} lie above it."
            )


def render_filter(report: ScanReport) -> list[SampleRow]:
    """The rows that the reader wants to see, the most suspicious first."""
    names = report.model.class_names
    present = sorted({row.predicted for row in report.samples})
    with st.container(horizontal=True, vertical_alignment="bottom"):
        which = st.segmented_control("Show", _FILTERS, default="all", required=True, key="which")
        label = st.selectbox(
            "Predicted label", present, index=None, placeholder="any", width=220, key="which-label",
            format_func=lambda value: label_name(value, names),
        )
        text = st.text_input("File name contains", max_chars=100, width=220, key="which-text")
    rows = sorted(report.samples, key=lambda row: (-row.suspicion_score, row.index))
    keep: dict[str, Callable[[SampleRow], bool]] = {
        "all": lambda row: True,
        "flagged": lambda row: row.flagged,
        "not flagged": lambda row: not row.flagged,
        "changed by the repair": lambda row: row.predicted != row.predicted_repaired,
    }
    wanted = keep[which or "all"]
    return [
        row for row in rows
        if wanted(row) and (label is None or row.predicted == label)
        and text.lower() in row.id.lower()
    ]


def render_pages(pages: int, rows: int, *, start: int, key: str) -> int:
    """Which page of the gallery, from 1."""
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.caption(count(rows, "image"), width="content")
        return st.pagination(pages, default=start, key=key, width="stretch")


def render_gallery(
    sheet: bytes, tiles: Sequence[Tile], *, columns: int, on_open: Callable[[], None]
) -> None:
    """The wall of pictures."""
    gallery(sheet, tiles, columns=columns, key=GALLERY, on_open=on_open)
    st.caption("The number is the suspicion score; ⚑ is flagged. Click a picture to open it.")


def render_table(report: ScanReport, rows: Sequence[SampleRow]) -> int | None:
    """A table where the report has no pictures; the index of the picked image."""
    shown = {row.index for row in rows}
    table = charts.sample_table(report)
    table = table[table["index"].isin(shown)].reset_index(drop=True)
    event = st.dataframe(table, hide_index=True, on_select="rerun", selection_mode="single-row",
                         key="sample-table", alt="Suspect images", height=320)
    picked = event["selection"]["rows"]
    return int(table["index"][picked[0]]) if picked else None


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
    left, right = st.columns([1, 2.2], gap="large")
    with left:
        if picture is not None:
            st.image(picture, width="stretch", alt=sample_title(report, row))
        else:
            st.caption("There is no picture of this image in the report.")
    with right:
        badge = (":orange-badge[:material/flag: flagged]" if row.flagged
                 else ":gray-badge[:material/check: not flagged]")
        st.markdown(f"### Image {row.index} {badge}", anchors=False)
        st.markdown(f"`{_code(row.id)}` · suspicion score **{row.suspicion_score:.3f}**")
        names = report.model.class_names
        said = [
            ("Original", row.predicted), ("Unlearned", row.predicted_unlearned),
            ("Repaired", row.predicted_repaired),
        ]
        columns = st.columns(3)
        for column, (name, label) in zip(columns, said, strict=True):
            with column.container(border=True, height="stretch", gap="xsmall"):
                st.caption(f"{name} model says")
                st.markdown(f"**{plain(label_name(label, names)) if label is not None else '–'}**")
        if row.predicted != row.predicted_repaired:
            st.markdown(":material/arrow_forward: The repair changes the answer.")


def render_maps(maps: Mapping[tuple[str, str], bytes], *, key: str, none: str) -> None:
    """Captum maps of one method on the original and the repaired model, with their difference.

    Args:
        maps: PNG by (method, model).
        none: said where there are none.
    """
    methods = [method for method in METHODS if (method, "original") in maps]
    if not methods:
        st.caption(none)
        return
    st.markdown("**Which pixels decided**")
    method = st.segmented_control("Method", methods, default=methods[0], required=True,
                                  format_func=METHODS.__getitem__, key=f"{key}-method",
                                  label_visibility="collapsed")
    original = maps[(str(method), "original")]
    repaired = maps.get((str(method), "repaired"))
    columns = st.columns(4)
    columns[0].image(original, width="stretch", caption="original", alt="Map of the original model")
    if repaired is not None:
        columns[1].image(repaired, width="stretch", caption="repaired",
                         alt="Map of the repaired model")
        change = difference(open_picture(original), open_picture(repaired), amplify=1.0)
        columns[2].image(png(change), width="stretch", caption="difference; grey is unchanged",
                         alt="Difference of the two maps")
        with columns[3]:
            compare_slider(original, repaired, key=f"{key}-slider", names=("original", "repaired"),
                           name="Map of the original and of the repaired model")
    reading(READING["attributions"])


def render_csv(table: pd.DataFrame) -> None:
    """The flags as a file."""
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


def _code(text: str) -> str:
    return "".join(c if c.isprintable() and c != "`" else "?" for c in text)[:120] or "?"
