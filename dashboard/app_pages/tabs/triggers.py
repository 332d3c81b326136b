"""Recovered triggers: pictures, examples, rates, "paste it on my image"."""

from __future__ import annotations

import numpy as np
import streamlit as st

from dashboard import cache, state
from dashboard.pictures import (
    difference,
    open_picture,
    paste_trigger,
    png,
    shrink,
    split_strip,
)
from dashboard.views import frame, samples, triggers
from rnp_core import DataError, Job, ScanReport, TriggerRow

_EXAMPLES = 8
_MIN_SIDE = 256
_TRIGGERED = -1  # index of the attributions of a clean image with the recovered trigger


def show(job: Job, report: ScanReport) -> None:
    """Draw the tab; the trigger in the address is shown."""
    if not report.triggers:
        frame.render_empty(":material/texture:", "No trigger was recovered",
                           "See the stages in the summary.")
        return
    names = [f"{row.label}-{row.kind}" for row in report.triggers]
    name = state.one_of("trigger", names, names[0])
    if len(names) > 1:
        triggers.render_choice(report, names, state.linked("trigger", name))
    row = report.triggers[names.index(name)]
    triggers.render_title(report, row)
    tiles = _tiles(job, row)
    triggers.render_pictures(
        cache.picture(job.run_folder, row.mask_png),
        cache.picture(job.run_folder, row.pattern_png),
        [png(tile) for tile in tiles],
    )
    _examples(job, report, row)
    maps = cache.maps(job.run_folder, report, _TRIGGERED)
    if maps and row.label == report.triggers[0].label:
        with st.container(border=True):
            samples.render_maps(maps, key="trigger", none="")
    triggers.render_flip_rates(report, row)


def _tiles(job: Job, row: TriggerRow) -> list:
    strip = cache.picture(job.run_folder, row.preview_png)
    return split_strip(strip) if strip else []


@st.fragment
def _examples(job: Job, report: ScanReport, row: TriggerRow) -> None:
    """Before and after with a slider, on stored examples or on a picture of the reader."""
    mask = cache.picture(job.run_folder, row.mask_png)
    pattern = cache.picture(job.run_folder, row.pattern_png)
    can_paste = row.kind == "patch" and mask is not None and pattern is not None
    others = _others(report) if can_paste else 0
    upload, number = triggers.render_example_choice(others + 1, can_paste=can_paste)
    height, width = report.model.input_shape[1:]
    try:
        if upload is not None and mask and pattern:
            before = open_picture(upload, side=(height, width))
            after = paste_trigger(before, mask, pattern, kind=row.kind)
        elif number <= others and mask and pattern:
            before = _unflagged(job, report, number - 1, (height, width))
            after = paste_trigger(before, mask, pattern, kind=row.kind)
        else:
            tiles = _tiles(job, row)
            if len(tiles) < 2:
                return
            before, after = (shrink(tile, height, width) for tile in tiles[:2])
    except DataError as error:
        frame.render_error(error)
        return
    triggers.render_before_after(
        png(before, min_side=_MIN_SIDE), png(after, min_side=_MIN_SIDE),
        png(difference(before, after), min_side=_MIN_SIDE), key=f"slider-{row.label}-{row.kind}",
    )


def _others(report: ScanReport) -> int:
    has_pictures = "suspect_thumbnails" in report.files
    return min(_EXAMPLES, sum(not row.flagged for row in report.samples)) if has_pictures else 0


def _unflagged(
    job: Job, report: ScanReport, place: int, side: tuple[int, int]
) -> np.ndarray:
    """The picture of a suspect that is not flagged, at the size of the model's input."""
    found = cache.thumbnails(job.run_folder, report.files.get("suspect_thumbnails"))
    harmless = [row.index for row in report.samples if not row.flagged and row.index in found]
    if not harmless:
        raise DataError("expected pictures of suspects that are not flagged, there are none")
    pixels = found[harmless[place % len(harmless)]]
    return pixels if pixels.shape[:2] == side else open_picture(png(pixels), side=side)
