"""Verdict first, then what can be done with it."""

from __future__ import annotations

import streamlit as st

from dashboard import cache, state
from dashboard.pictures import clearest, paste_trigger, png, split_strip
from dashboard.views import actions, verdict
from rnp_core import Job, ScanReport, calibration_scores


def show(job: Job, report: ScanReport) -> None:
    """Draw the tab."""
    left, right = st.columns([2.1, 1])
    with left:
        verdict.render_headline(report, job, calibration_scores())
    with right:
        verdict.render_suspect_label(report, job, preview(job, report))
    verdict.render_numbers(report)
    left, right = st.columns([1.6, 1], gap="large")
    with left:
        verdict.render_findings(report)
    with right:
        _decision(job)
        _take_away(job, report)


def preview(job: Job, report: ScanReport) -> list[bytes]:
    """An image and the same with the first trigger, enlarged PNGs; empty without any.

    A patch is shown on the clearest suspect that is not flagged, where there are pictures of
    suspects; otherwise it is the example that the scan drew.
    """
    if not report.triggers:
        return []
    row = report.triggers[0]
    mask, pattern, strip = (
        cache.picture(job.run_folder, name)
        for name in (row.mask_png, row.pattern_png, row.preview_png)
    )
    if row.kind == "patch" and mask and pattern:
        found = cache.thumbnails(job.run_folder, report.files.get("suspect_thumbnails"))
        side = tuple(report.model.input_shape[1:])
        fitting = [found[sample.index] for sample in report.samples
                   if not sample.flagged and sample.predicted != row.label
                   and sample.index in found and found[sample.index].shape[:2] == side]
        if fitting:
            image = clearest(fitting)
            pair = (image, paste_trigger(image, mask, pattern, kind=row.kind))
            return [png(picture, min_side=192) for picture in pair]
    return [png(tile) for tile in split_strip(strip)[:2]] if strip else []


def _decision(job: Job) -> None:
    engine = cache.engine()
    st.subheader("Decision", anchor=False)
    actions.render_decisions(engine.dispositions(job.id))
    actions.render_decision_form(
        name=state.reviewer(),
        name_is_fixed=state.signed_in(),
        on_decide=lambda decision, reviewer, note: _decide(job, decision, reviewer, note),
    )
    tags = actions.render_tags(job)
    if tags is not None:
        engine.set_tags(job.id, tags)
        st.rerun()


def _decide(job: Job, decision: str, reviewer: str, note: str) -> None:
    if not state.signed_in():
        state.put("reviewer_name", reviewer)
    cache.engine().set_disposition(
        job.id, decision, reviewer=reviewer, note=note  # type: ignore[arg-type]
    )


def _take_away(job: Job, report: ScanReport) -> None:
    st.subheader("Take it with you", anchor=False)
    repaired = cache.inside(job.run_folder, report.files.get("repaired_model"))
    if not report.suspected_target_labels:
        repaired = None  # nothing was removed
    actions.render_downloads(job, report, repaired, cache.report_formats())
    if repaired is not None:
        again = actions.render_rescan(job, repaired, cache.engine().jobs(tag=f"repaired:{job.id}"))
        if again is not None:
            new = cache.engine().submit(
                again, title=f"Repaired: {job.title}", tags=("repaired", f"repaired:{job.id}")
            )
            state.go("live", job=new)
