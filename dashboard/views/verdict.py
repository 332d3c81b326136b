"""The first screen of a finished scan: the verdict in plain words, and why."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboard import charts
from dashboard.requests import is_imported
from dashboard.text import count, duration, label_name, number, percent, plain, when
from dashboard.views.parts import findings, job_title, link, plotly, reading, verdict_badge
from dashboard.wording import READING, SEVERITIES, VERDICTS, other_classes
from rnp_core import Job, ScanReport

_STYLE = """<style>
.st-key-headline h1, .st-key-suspect h3 { padding: 0 0 0.5rem; }
</style>"""
"""Less space around the headings, so that the verdict fits the first screen."""


def render_name(job: Job) -> None:
    """Which scan this is, above its tabs."""
    st.html(_STYLE)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{job_title(job)}**", width="content")
        st.markdown(verdict_badge(job.verdict, job.state), width="content")
        if is_imported(job):
            st.badge("Imported", icon=":material/unarchive:", color="gray",
                     help="This scan was made elsewhere and came as a file.")


def render_headline(
    report: ScanReport, job: Job, known: Sequence[tuple[float, str, str]]
) -> None:
    """Verdict, reason, advice, and where the score lies among ``known`` ones."""
    words = VERDICTS[report.verdict]
    with st.container(border=True, gap="small", height="stretch", key="headline"):
        st.markdown(f"# :{words.colour}[{words.icon} {words.title}]", anchors=False)
        st.markdown(f"{words.meaning} {words.advice}")
        st.markdown(f"**Why:** {plain(report.verdict_reason, most=600)}")
        if report.labels:
            _render_calibration(report, known)
        else:
            reading("There is no score, because the stages that it rests on gave nothing.")
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(_file_badge(report), width="content")
            st.caption(
                f"{plain(report.model.file_name or job.title, most=80)} · "
                f"{plain(report.model.architecture)} · {report.model.num_classes} classes · "
                f"scanned {when(report.created_at)} in "
                f"{duration(sum(stage.seconds for stage in report.stages))}", width="content",
            )


def _file_badge(report: ScanReport) -> str:
    """What the file itself told, in a few words."""
    found = [severity for severity, stage, _ in charts.finding_rows(report) if stage == "file"]
    if not found:
        return ":green-badge[:material/check: file: nothing unusual]"
    icon, colour = SEVERITIES.get(found[0], SEVERITIES["info"])
    worst = found[0] if len(found) == 1 else f"the worst {found[0]}"
    return f":{colour}-badge[{icon} file: {count(len(found), 'finding')}, {worst}]"


def render_numbers(report: ScanReport) -> None:
    """The four numbers that matter: before and after the repair, where there was one."""
    accuracy = report.accuracy
    grid = st.grid(4, min_column_width=150)
    grid.metric(
        "Backdoor score", number(report.backdoor_score if report.labels else None), border=True,
        height="stretch", help="0 to 1, higher is more suspicious. Score of the most suspicious "
        "label.",
    )
    grid.metric(
        "Accuracy, original", percent(accuracy.clean_before, 1), border=True, height="stretch",
        help=f"On {count(accuracy.count, 'held-out clean image')}; 95% interval "
        f"{_interval(accuracy.interval_before)}.",
    )
    if not report.was_repaired:
        ratios = [row.norm_ratio for row in report.labels if row.norm_ratio is not None]
        grid.metric("Smallest trigger ratio", number(min(ratios, default=None)), border=True,
                          height="stretch", help="Size of the smallest trigger of any label over "
                          "the median of all labels. Far below 1 is suspicious, "
                          "for a patch to images of a few classes only from about 0.3.")
        shares = [row.unlearned_share for row in report.labels]
        grid.metric("Largest unlearned share", percent(max(shares, default=None)),
                          border=True, height="stretch", help="Share of clean images that the "
                          "unlearned model sends to its favourite label.")
        return
    grid.metric(
        "Accuracy, repaired", percent(accuracy.clean_after, 1),
        f"{100 * (accuracy.clean_after - accuracy.clean_before):+.1f} points", border=True,
        delta_color="off", delta_arrow="off", height="stretch",
        help=f"95% interval {_interval(accuracy.interval_after)}.",
    )
    grid.metric(
        "Flip rate, repaired", percent(accuracy.flip_rate_after),
        f"{percent(accuracy.flip_rate_before)} before", border=True, delta_color="off",
        delta_arrow="off", height="stretch",
        help="Share of the clean images it is meant for that the recovered trigger turns. "
        "Estimated: the attacker's own trigger is unknown.",
    )


def _render_calibration(report: ScanReport, known: Sequence[tuple[float, str, str]]) -> None:
    config = report.config
    plotly(
        charts.calibration_strip(
            report.backdoor_score,
            suspicious=float(config.get("suspicious_score", 0.5)),
            backdoored=float(config.get("backdoored_score", 0.8)),
            known=known,
        ),
        key="calibration",
        alt=f"Backdoor score {report.backdoor_score:.2f} on a scale from 0 to 1",
    )
    if known:
        clean = sum(row[1] == "clean" for row in known)
        reading(f"{READING['calibration']} Circles: {count(clean, 'known clean model')}; crosses: "
                f"{count(len(known) - clean, 'known backdoored model')}.")
    else:
        reading("Suspicious and backdoored begin at the marked scores.")


def render_suspect_label(report: ScanReport, job: Job, pictures: Sequence[bytes]) -> None:
    """The suspected label with the trigger on an image.

    Args:
        pictures: the image as it is and with the trigger, PNG; empty where there is none.
    """
    names = report.model.class_names
    with st.container(border=True, gap="small", height="stretch", key="suspect"):
        if report.suspected_target_labels:
            st.caption("Suspected target label")
            st.markdown(f"### {plain(label_name(report.suspected_target_labels[0], names))}",
                        anchors=False)
        elif report.target_depends_on_image:
            st.caption("Suspected target label")
            st.markdown("### Depends on the image", anchors=False)
        elif report.labels:
            top = report.ranked_labels[0]
            st.caption("Most suspicious label, below the threshold")
            st.markdown(f"### {plain(label_name(top.label, names))}", anchors=False)
        if len(pictures) >= 2:
            left, right = st.columns(2, wrap=False)
            left.image(pictures[0], width="stretch", caption="an image", alt="A clean image")
            right.image(
                pictures[1], width="stretch", alt="The same image with the recovered trigger",
                caption="with the recovered trigger" if report.accuses
                else "with the smallest trigger found",
            )
            if report.accuses and report.accuracy.flip_rate_before is not None:
                effect = (
                    f"images of {other_classes(report)} into this label."
                    if report.suspected_target_labels
                    else "images into another class."
                )
                st.markdown(
                    f"It turns {percent(report.accuracy.flip_rate_before)} of the held-out clean "
                    + effect
                )
            link("verdict", "See the triggers", icon=":material/arrow_forward:", scan=job.id,
                 tab="triggers")
        flagged = sum(row.flagged for row in report.samples)
        if flagged and report.accuses:
            st.markdown(f"Of {count(len(report.samples), 'suspect image')}, {flagged:,} "
                        f"{'is' if flagged == 1 else 'are'} flagged.")
            link("verdict", "See the suspect images", icon=":material/arrow_forward:", scan=job.id,
                 tab="samples")


def render_findings(report: ScanReport) -> None:
    """What the file and the stages told."""
    st.subheader("Findings", anchor=False)
    rows = [row for row in charts.finding_rows(report) if row[2] != report.verdict_reason]
    if not any(stage == "file" for _, stage, _ in rows):
        st.markdown(":green-badge[:material/check: file] The file itself showed nothing unusual: "
                    f"{plain(report.model.format or 'in memory')}, nothing in it was run.")
    findings(rows)
    for stage in report.stages:
        if stage.status == "failed":
            st.markdown(f":orange-badge[:material/warning: stage failed] {plain(stage.name)}: "
                        f"{plain(stage.detail)}")
    with st.expander("Time and outcome of each stage", icon=":material/timer:"):
        st.dataframe(
            {
                "stage": [row.name for row in report.stages],
                "status": [row.status for row in report.stages],
                "time": [duration(row.seconds) for row in report.stages],
                "note": [row.detail for row in report.stages],
            },
            hide_index=True, alt="Stages of the scan",
        )


def _interval(values: Sequence[float]) -> str:
    return " to ".join(percent(value, 1) for value in values) or "–"
