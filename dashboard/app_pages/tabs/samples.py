"""Suspect images: threshold, gallery, filter, one image opened."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboard import cache, charts, state
from dashboard.charts import Triage
from dashboard.components.gallery import Tile
from dashboard.maps import Maps, repaired_path, stored_maps
from dashboard.pictures import png
from dashboard.requests import has_files
from dashboard.views import frame, maps, samples
from rnp_core import Job, RnpError, RunFolder, SampleRow

_PER_PAGE = 60
_COLUMNS = 12


def show(job: Job, run: RunFolder) -> None:
    """Draw the tab; the image and the threshold in the address are shown."""
    report = run.report
    if not report.samples:
        frame.render_empty(":material/photo_library:", "No suspect images were given",
                           "Give suspects with the next scan to have them sorted by suspicion.")
        return
    found = charts.triage(report, _threshold(report.sample_threshold))
    samples.render_title(found)
    panel = st.container()  # of the opened image, above all that it would push away
    samples.render_overview(report, found)
    value = round(found.threshold or 0.0, 2)
    if samples.render_threshold(report, found, state.linked("threshold", value)):
        state.set_parameter("threshold", "")
        st.rerun()
    rows = samples.render_filter(report, found, on_change=lambda: state.set_parameter("page", ""))
    if not rows:
        frame.render_empty(":material/filter_alt_off:", "No image fits this filter",
                           "Choose another one.")
        return
    opened = state.whole("sample", {row.index for row in report.samples})
    if opened is not None:
        with panel:
            _open(job, run, found, rows, opened)
    _gallery(run, found, rows, opened)
    samples.render_csv(charts.sample_table(report, found))


def _threshold(own: float | None) -> float | None:
    """The threshold in the address; None for the scan's own."""
    asked = state.share("threshold")
    return None if own is None or asked is None or asked == round(own, 2) else asked


def _gallery(
    run: RunFolder, found: Triage, rows: Sequence[SampleRow], opened: int | None
) -> None:
    pictures = cache.thumbnails(run)
    pages = -(-len(rows) // _PER_PAGE)
    place = next((i for i, row in enumerate(rows) if row.index == opened), 0)
    page = state.whole("page", range(1, pages + 1)) or _page_of(place)
    if pages > 1:
        samples.render_pages(pages, len(rows), state.linked("page", page))
    shown = rows[(page - 1) * _PER_PAGE : page * _PER_PAGE]
    with_picture = [row for row in shown if row.index in pictures]
    if not with_picture:
        picked = samples.render_table(charts.sample_table(run.report, found), shown, opened)
        if picked not in (None, opened):
            state.set_parameter("sample", str(picked))
            st.rerun()
        return
    sheet = cache.sprite(str(run.folder), tuple(row.index for row in with_picture), _COLUMNS)
    tiles = [
        Tile(row.index, f"{row.suspicion_score:.2f}", samples.sample_title(run.report, row),
             row.flagged, row.index == opened)
        for row in with_picture
    ]
    samples.render_gallery(sheet, tiles, columns=_COLUMNS, on_open=_on_open)
    if len(with_picture) < len(shown):
        st.caption("The least suspicious images have no picture in the report.")


def _page_of(place: int) -> int:
    """The page of the gallery, from 1, that has the row at ``place``."""
    return place // _PER_PAGE + 1


def _on_open() -> None:
    index = getattr(state.get(samples.GALLERY), "opened", None)
    if index is not None:
        state.set_parameter("sample", str(int(index)))


def _open(
    job: Job, run: RunFolder, found: Triage, rows: Sequence[SampleRow], opened: int
) -> None:
    row = next(row for row in found.samples if row.index == opened)
    order = [item.index for item in rows]
    place = order.index(opened) if opened in order else -1
    pictures = cache.thumbnails(run)
    picture = png(pictures[opened], min_side=256) if opened in pictures else None
    with st.container(border=True):
        step = samples.render_steps(place, len(order))
        samples.render_sample(run.report, row, picture)
        shown = stored_maps(run, opened) or _made_maps(job, run, row)
        if shown:
            maps.render_maps(shown, key="sample")
    if step == "close":
        if place >= 0 and not state.parameter("page"):
            state.set_parameter("page", str(_page_of(place)))  # stay where the image was
        state.set_parameter("sample", "")
        st.rerun()
    if step in ("next", "previous") and order:
        target = (place + (1 if step == "next" else -1)) % len(order)
        state.set_parameter("sample", str(order[target]))
        state.set_parameter("page", str(_page_of(target)))
        st.rerun()


def _made_maps(job: Job, run: RunFolder, row: SampleRow) -> Maps:
    """Maps of an image that the scan made none of, once the reader asks for them."""
    report, request = run.report, job.request
    facts = report.data.suspects
    possible = request.suspects is not None and has_files(job)
    name = f"explained-{job.id}-{row.index}"
    wanted = state.get(name) or samples.render_explain(possible=possible)
    if not wanted or facts is None:
        return {}
    state.put(name, True)
    suspected = report.suspected_target_labels
    target = row.predicted if row.predicted in suspected or not suspected else suspected[0]
    try:
        with st.spinner("Asking the models …", show_time=True):
            return cache.made_maps(
                request, report.model.sha256 or "", facts.sha256,
                repaired_path(run), row.index, target,
            )
    except RnpError as error:
        frame.render_error(error, title="There are no maps of this image")
        return {}
