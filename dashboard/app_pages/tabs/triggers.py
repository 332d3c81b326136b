"""Recovered triggers: pictures, examples, rates, "paste it on my image"."""

from __future__ import annotations

import numpy as np
import streamlit as st

from dashboard import cache, state
from dashboard.maps import repaired_path, stored_maps
from dashboard.pictures import difference, png, shrink, split_strip
from dashboard.requests import has_files
from dashboard.views import frame, maps, triggers
from rnp_core import (
    DataError,
    Job,
    RnpError,
    RunFolder,
    StoredTrigger,
    TriggerRow,
    open_picture,
    stored_trigger,
)

_EXAMPLES = 8
_MIN_SIDE = 256
_TRIGGERED = -1  # index of the attributions of a clean image with the recovered trigger


def show(job: Job, run: RunFolder) -> None:
    """Draw the tab; the trigger in the address is shown."""
    report = run.report
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
    triggers.render_pictures(run.picture(row.mask_png), run.picture(row.pattern_png),
                             [png(tile) for tile in _tiles(run, row)])
    _examples(job, run, row)
    stored = stored_maps(run, _TRIGGERED)
    if stored and name == names[0]:
        st.header("What the models look at", anchor=False)
        st.caption("On a clean image with the recovered trigger.")
        with st.container(border=True):
            maps.render_maps(stored, key="trigger")
    triggers.render_flip_rates(report, row)


def _tiles(run: RunFolder, row: TriggerRow) -> list[np.ndarray]:
    strip = run.picture(row.preview_png)
    return split_strip(strip) if strip else []


@st.fragment
def _examples(job: Job, run: RunFolder, row: TriggerRow) -> None:
    """Before and after with a slider, on stored examples or on a picture of the reader."""
    height, width = run.report.model.input_shape[1:]
    try:
        trigger = stored_trigger(run, row)
        others = _harmless(run, row) if trigger is not None else []
        upload, number = triggers.render_example_choice(len(others) + 1,
                                                        can_paste=trigger is not None)
        pair = _pair(trigger, upload, others, number, (height, width)) if trigger else None
    except DataError as error:
        frame.render_error(error)
        return
    if pair is None:
        tiles = [shrink(tile, height, width) for tile in _tiles(run, row)[:2]]
        if len(tiles) < 2:
            return
        pair = (tiles[0], tiles[1])
    before, after = pair
    left, right = st.columns([2.6, 1])
    with left:
        triggers.render_before_after(
            png(before, min_side=_MIN_SIDE), png(after, min_side=_MIN_SIDE),
            png(difference(before, after), min_side=_MIN_SIDE),
            key=f"slider-{row.label}-{row.kind}",
        )
    if has_files(job):
        with right:
            _answers(job, run, (png(before), png(after)))


def _answers(job: Job, run: RunFolder, pictures: tuple[bytes, bytes]) -> None:
    """What the models say about the two pictures, once the reader asks."""
    if not triggers.render_ask():
        return
    try:
        with st.spinner("Asking the models …", show_time=True):
            found = cache.answers(job.request, run.report.model.sha256 or "", repaired_path(run),
                                  pictures)
    except RnpError as error:
        frame.render_error(error, title="The models cannot be asked")
        return
    triggers.render_answers(found, run.report.model.class_names)


def _pair(
    trigger: StoredTrigger, upload: bytes | None, others: list[np.ndarray], number: int,
    side: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray] | None:
    """The chosen picture without and with the trigger; None for the stored example."""
    if upload is not None:
        before = open_picture(upload, side=side)
    elif number <= len(others):
        before = others[number - 1]
    else:
        return None
    if before.shape[:2] != side:
        before = open_picture(png(before), side=side)
    return before, trigger.paste(before)


def _harmless(run: RunFolder, trigger: TriggerRow) -> list[np.ndarray]:
    """Pictures of the first suspects that are not flagged and that the trigger is for."""
    found = cache.thumbnails(run)
    rows = [row for row in run.report.samples
            if not row.flagged and row.index in found and trigger.is_for(row.predicted)]
    return [found[row.index] for row in rows[:_EXAMPLES]]
