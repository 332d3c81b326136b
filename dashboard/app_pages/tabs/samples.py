"""Suspect images: gallery, filter, one image opened."""

from __future__ import annotations

import streamlit as st

from dashboard import cache, charts, state
from dashboard.components.gallery import Tile
from dashboard.pictures import png
from dashboard.views import frame, samples
from rnp_core import Job, SampleRow, ScanReport

_PER_PAGE = 60
_COLUMNS = 12


def show(job: Job, report: ScanReport) -> None:
    """Draw the tab; the image in the address is opened."""
    if not report.samples:
        frame.render_empty(":material/photo_library:", "No suspect images were given",
                           "Give suspects with the next scan to have them sorted by suspicion.")
        return
    samples.render_overview(report)
    rows = samples.render_filter(report)
    if not rows:
        frame.render_empty(":material/filter_alt_off:", "No image fits this filter",
                           "Choose another one.")
        return
    opened = state.whole("sample", {row.index for row in report.samples})
    if opened is not None:
        _open(job, report, rows, opened)
    _gallery(job, report, rows, opened)
    samples.render_csv(charts.sample_table(report))


def _gallery(
    job: Job, report: ScanReport, rows: list[SampleRow], opened: int | None
) -> None:
    name = report.files.get("suspect_thumbnails")
    found = cache.thumbnails(job.run_folder, name)
    pages = -(-len(rows) // _PER_PAGE)
    place = next((i for i, row in enumerate(rows) if row.index == opened), 0)
    start = place // _PER_PAGE + 1
    page = 1
    if pages > 1:  # another image or filter: begin at the page that holds it
        page = samples.render_pages(pages, len(rows), start=start,
                                    key=f"page-{job.id}-{len(rows)}-{start}")
    shown = rows[(page - 1) * _PER_PAGE : page * _PER_PAGE]
    with_picture = [row for row in shown if row.index in found]
    if name is None or not with_picture:
        picked = samples.render_table(report, shown)
        if picked is not None and picked != opened:
            state.set_parameter("sample", str(picked))
            st.rerun()
        return
    sheet = cache.sprite(
        str(job.run_folder), name, tuple(row.index for row in with_picture), _COLUMNS
    )
    tiles = [
        Tile(row.index, f"{row.suspicion_score:.2f}", samples.sample_title(report, row),
             row.flagged, row.index == opened)
        for row in with_picture
    ]
    samples.render_gallery(sheet, tiles, columns=_COLUMNS, on_open=_on_open)
    if len(with_picture) < len(shown):
        st.caption("The least suspicious images have no picture in the report.")


def _on_open() -> None:
    index = getattr(state.get(samples.GALLERY), "opened", None)
    if index is not None:
        state.set_parameter("sample", str(int(index)))


def _open(job: Job, report: ScanReport, rows: list[SampleRow], opened: int) -> None:
    row = next(row for row in report.samples if row.index == opened)
    order = [item.index for item in rows]
    place = order.index(opened) if opened in order else -1
    found = cache.thumbnails(job.run_folder, report.files.get("suspect_thumbnails"))
    picture = png(found[opened], min_side=256) if opened in found else None
    maps = cache.maps(job.run_folder, report, opened)
    with st.container(border=True):
        step = samples.render_steps(place, len(order))
        samples.render_sample(report, row, picture)
        samples.render_maps(maps, key="sample", none="Captum maps are made for the most suspicious "
                            "flagged images only.")
    if step == "close":
        state.set_parameter("sample", "")
        st.rerun()
    if step in ("next", "previous") and order:
        target = (place + (1 if step == "next" else -1)) % len(order)
        state.set_parameter("sample", str(order[target]))
        st.rerun()
