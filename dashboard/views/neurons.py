"""Filters of the network: mask map, table, prune slider, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.text import count, percent, plain
from dashboard.views.parts import plotly, reading
from dashboard.wording import READING
from rnp_core import ScanReport


def point_of(event: Any) -> int | None:
    """Listed row that was clicked on the map."""
    points = (event or {}).get("selection", {}).get("points", [])
    found = [point["customdata"] for point in points if "customdata" in point]
    value = found[0] if found else None
    if isinstance(value, list):
        value = value[0] if value else None
    return int(value) if isinstance(value, (int, float)) else None


def row_of(event: Any) -> int | None:
    """Row that was selected in the table."""
    rows = (event or {}).get("selection", {}).get("rows", [])
    return int(rows[0]) if rows else None


def render_map(
    report: ScanReport, listed: pd.DataFrame, chosen: int | None, *, key: str
) -> None:
    """Heat map of mask values; signs mark the listed filters."""
    masks = report.curves.filter_masks
    total = sum(len(values) for values in masks.values())
    with st.container(border=True):
        plotly(
            charts.mask_map(report, listed, chosen), key=key, on_select="rerun",
            selection_mode="points",
            alt=f"Mask values of {total} filters in {len(masks)} layers; "
            f"{len(report.pruned_filters)} are pruned",
        )
        pruned = "▼ pruned. " if report.pruned_filters else "No filter was pruned. "
        st.caption(f"{pruned}▽ lowest mask values that stay. Click one to find it in the table, "
                   "or pick a row to find it here.")


def render_table(listed: pd.DataFrame, chosen: int | None, *, key: str) -> None:
    """The listed filters; a row can be picked, and ``chosen`` is picked at first."""
    if chosen is not None:
        row = listed.iloc[chosen]
        st.markdown(f":violet-badge[:material/my_location: selected] **{plain(row['layer'])}**, "
                    f"filter {row['filter']}: mask {row['mask value']:.3f}, {row['outcome']}")
    else:
        st.markdown(":gray-badge[:material/my_location: selected] none yet")
    st.dataframe(
        listed, key=key, on_select="rerun", selection_mode="single-row", hide_index=True,
        height=290, alt="Filters with the lowest mask values",
        selection_default={"selection": {"rows": [] if chosen is None else [chosen]}},
        column_config={
            "mask value": st.column_config.ProgressColumn(min_value=0.0, max_value=1.0,
                                                          format="%.3f"),
        },
    )


def render_prune_slider(report: ScanReport) -> None:
    """Stored results by the number of pruned filters."""
    st.header("What pruning does", anchor=False)
    reading(READING["prune"])
    candidates = report.curves.prune_candidates
    counts = [int(row[0] or 0) for row in candidates]
    used = len(report.pruned_filters)
    chosen = f"the scan chose {used:,}" if used else "the scan chose none"
    place = st.select_slider(
        "Pruned filters", list(range(len(counts))), key="prune",
        value=counts.index(used) if used in counts else len(counts) - 1,
        format_func=lambda i: str(counts[i]),
    )
    row = candidates[place]
    first = candidates[0]
    left, right = st.columns([1, 2.4])
    with left:
        st.metric("Pruned filters", f"{counts[place]:,}", chosen, border=True,
                  delta_color="off", delta_arrow="off")
        st.metric("Clean accuracy", percent(row[2], 1), _points(row[2], first[2]), border=True,
                  delta_color="off", delta_arrow="off")
        st.metric("Flip rate", percent(row[3], 1), _points(row[3], first[3]), border=True,
                  delta_color="off", delta_arrow="off")
    with right, st.container(border=True):
        plotly(charts.prune_curve(candidates, place), key="prune-chart",
               alt="Accuracy and flip rate by the number of pruned filters")
        st.caption("Measured on the images that the masks were fitted on, before any fine-tuning. "
                   "The summary gives held-out numbers.")


def render_filter_pictures(
    report: ScanReport, pictures: Sequence[tuple[str, bytes]]
) -> None:
    """Which pixels drive the filters that were pruned, or where none were, that came back least.

    Args:
        pictures: (layer, PNG).
    """
    if not pictures:
        return
    pruned = bool(report.pruned_filters)
    st.header("What drives the pruned filters" if pruned
              else "What drives the filters that came back least", anchor=False)
    reading("How to read it: orange pixels switch the suspect filters of this layer on. On a "
            "triggered image they should lie on the trigger."
            + ("" if pruned else " The repair pruned none of them: tuning was enough."))
    with st.container(horizontal=True):
        for layer, picture in pictures:
            st.image(picture, width=190, caption=plain(layer),
                     alt=f"Pixels that drive the suspect filters of {layer}")


def render_repaired(report: ScanReport, repaired: Path | None) -> None:
    """The repaired weights as a download."""
    if repaired is None or not report.was_repaired:
        return
    st.header("The repaired model", anchor=False)
    pruned = len(report.pruned_filters)
    done = [f"{count(pruned, 'filter')} pruned"] if pruned else []
    if report.was_tuned:
        done.append("tuned briefly on clean images with the recovered triggers under true labels")
    st.markdown(f"{', then '.join(done).capitalize()}. Same key names as your file, so it loads "
                "strictly into the same architecture.")
    st.download_button(
        "Download the repaired model", lambda: repaired.read_bytes(), type="primary",
        icon=":material/healing:", file_name="repaired.safetensors", on_click="ignore",
        mime="application/octet-stream",
    )


def _points(value: float | None, start: float | None) -> str | None:
    if value is None or start is None:
        return None
    change = 100 * (value - start)
    return "as without pruning" if abs(change) < 0.05 else f"{change:+.1f} points by pruning"
