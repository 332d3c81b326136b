"""Verdict first, then what can be done with it."""

from __future__ import annotations

import dataclasses

import streamlit as st

from dashboard import cache, state
from dashboard.pictures import clearest, png, split_strip
from dashboard.requests import again_tag, has_files, is_imported
from dashboard.views import actions, verdict
from rnp_core import Job, RunFolder, calibration_scores, stored_trigger

_MIN_SIDE = 192


def show(job: Job, run: RunFolder) -> None:
    """Draw the tab."""
    report = run.report
    if report.labels:
        left, right = st.columns([2.1, 1])
        with left:
            verdict.render_headline(report, job, calibration_scores())
        with right:
            verdict.render_suspect_label(report, job, preview(run))
    else:
        verdict.render_headline(report, job, calibration_scores())
    verdict.render_numbers(report)
    left, right = st.columns([1.6, 1], gap="large")
    with left:
        verdict.render_findings(report)
    with right:
        _decision(job)
        _again(job)
        _take_away(job, run)


def preview(run: RunFolder) -> list[bytes]:
    """An image and the same with the first trigger, enlarged PNGs; empty without any.

    It is the clearest suspect that is not flagged, where there are pictures of suspects; otherwise
    the example that the scan drew.

    Raises:
        DataError: when the pictures are damaged.
    """
    report = run.report
    if not report.triggers:
        return []
    row = report.triggers[0]
    trigger = stored_trigger(run, row)
    if trigger is not None:
        found = cache.thumbnails(run)
        side = tuple(report.model.input_shape[1:])
        fitting = [found[sample.index] for sample in report.samples
                   if not sample.flagged and row.is_for(sample.predicted)
                   and sample.index in found and found[sample.index].shape[:2] == side]
        if fitting:
            image = clearest(fitting)
            return [png(picture, min_side=_MIN_SIDE) for picture in (image, trigger.paste(image))]
    strip = run.picture(row.preview_png)
    return [png(tile) for tile in split_strip(strip)[:2]] if strip else []


def _decision(job: Job) -> None:
    engine = cache.engine()
    st.subheader("Decision", anchor=False)
    actions.render_decisions(engine.dispositions(job.id), imported=is_imported(job))
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
    if state.signed_in():
        reviewer = state.reviewer()  # whatever the browser sent
    else:
        state.put("reviewer_name", reviewer)
    cache.engine().set_disposition(
        job.id, decision, reviewer=reviewer, note=note  # type: ignore[arg-type]
    )


def _again(job: Job) -> None:
    engine = cache.engine()
    tag = again_tag(job)
    others = [row for row in engine.jobs(tag=tag) if row.id != job.id and not is_imported(row)]
    chosen = actions.render_again(job, others, possible=has_files(job))
    if chosen is not None:
        preset, seed = chosen
        request = dataclasses.replace(job.request, preset=preset, seed=seed)
        new = engine.submit(request, title=job.title, tags=(tag,))
        engine.add_tags(job.id, [tag])
        state.go("live", job=new)


def _take_away(job: Job, run: RunFolder) -> None:
    st.subheader("Take it with you", anchor=False)
    repaired = run.path(run.report.files.get("repaired_model"))
    if not run.report.was_repaired:
        repaired = None
    actions.render_downloads(job, run.report, repaired)
    if repaired is not None:
        again = actions.render_rescan(job, repaired, cache.engine().jobs(tag=f"repaired:{job.id}"))
        if again is not None:
            new = cache.engine().submit(
                again, title=f"Repaired: {job.title}", tags=("repaired", f"repaired:{job.id}")
            )
            state.go("live", job=new)
