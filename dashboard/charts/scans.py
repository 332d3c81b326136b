"""Many scans: history, ranking, distribution of scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.look import VERDICT_COLOURS, count_axis, figure_of, stripes
from dashboard.requests import is_imported
from dashboard.wording import DISPOSITIONS, STATE_WORDS, VERDICT_SHORT, VERDICT_SIGNS
from rnp_core import Job


def job_table(jobs: Sequence[Job]) -> pd.DataFrame:
    """Scans for the history table; names of scans and files are untrusted text."""
    return pd.DataFrame({
        "verdict": [_verdict(job) for job in jobs],
        "score": [job.backdoor_score for job in jobs],  # in sight on a phone
        "name": [job.title for job in jobs],
        "suspected": [", ".join(map(str, job.suspected_target_labels)) for job in jobs],
        "decision": [_decision(job) for job in jobs],
        "note": [job.disposition.note if job.disposition else "" for job in jobs],
        "started": pd.to_datetime([job.created_at for job in jobs], utc=True, format="ISO8601"),
        "preset": [job.request.preset for job in jobs],
        "seed": [job.request.seed for job in jobs],
        "tags": [[tag for tag in job.tags if ":" not in tag] for job in jobs],
        "file": [job.checkpoint_name for job in jobs],
        "sha256": [job.checkpoint_sha256[:12] for job in jobs],
    })


_URGENCY = {"backdoored": 0, "suspicious": 1, "error": 2, "inconclusive": 2, "no_evidence": 4}
_TRIAGED = 3  # a model of which nobody knows more than the cheap evidence


def rank(jobs: Sequence[Job]) -> list[Job]:
    """The newest scan of each checkpoint, or its triage where there is no scan: the most urgent
    verdict first, then the highest score. What could not be decided comes before what is harmless.
    What came as a file counts only where there is nothing of our own.

    Args:
        jobs: finished scans and triages, the newest first.
    """
    newest: dict[str, Job] = {}
    for job in sorted(jobs, key=lambda job: (is_imported(job), job.kind != "scan")):
        newest.setdefault(job.checkpoint_sha256, job)
    return sorted(newest.values(), key=lambda job: (
        _URGENCY.get(job.verdict or "", _TRIAGED), -(job.backdoor_score or 0.0), job.title))


def rank_table(ranked: Sequence[Job]) -> pd.DataFrame:
    """Models for the fleet's table, in the order given; names are untrusted text."""
    return pd.DataFrame({
        "rank": range(1, len(ranked) + 1),
        "verdict": [_verdict(job) for job in ranked],
        "score": [job.backdoor_score for job in ranked],
        "model": [job.title for job in ranked],
        "origin": ["imported" if is_imported(job) else "" for job in ranked],
        "suspected": [", ".join(map(str, job.suspected_target_labels)) for job in ranked],
        "decision": [_decision(job) for job in ranked],
        "scanned": pd.to_datetime([job.finished_at for job in ranked], utc=True,
                                  format="ISO8601"),
        "sha256": [job.checkpoint_sha256[:12] for job in ranked],
    })


def undecided(failed: Sequence[Job], ranked: Sequence[Job]) -> list[Job]:
    """The newest of the jobs without a result for each checkpoint of which nothing else is
    known."""
    known = {job.checkpoint_sha256 for job in ranked}
    found: dict[str, Job] = {}
    for job in sorted(failed, key=lambda job: job.created_at, reverse=True):
        if not job.checkpoint_sha256 or job.checkpoint_sha256 not in known:
            found.setdefault(job.checkpoint_sha256 or job.request.checkpoint, job)
    return list(found.values())


def score_histogram(jobs: Sequence[Job]) -> go.Figure:
    """Distribution of the backdoor scores of scans by verdict."""
    figure = figure_of(260, x="backdoor score", y="models", legend=True)
    edges = np.linspace(0, 1, 21)
    all_scores = [job.backdoor_score for job in jobs
                  if job.verdict in VERDICT_SHORT and job.backdoor_score is not None]
    most = int(np.histogram(all_scores, bins=edges)[0].max(initial=0))
    for verdict, shape in zip(VERDICT_SHORT, ("/", "", "", ".", "x"), strict=True):
        scores = [
            job.backdoor_score for job in jobs
            if job.verdict == verdict and job.backdoor_score is not None
        ]
        if scores:
            counts, _ = np.histogram(scores, bins=edges)
            figure.add_bar(
                x=(edges[:-1] + edges[1:]) / 2, y=counts, width=0.048, name=VERDICT_SHORT[verdict],
                marker={"color": VERDICT_COLOURS[verdict], "pattern": stripes(shape)},
                hovertemplate=f"{VERDICT_SHORT[verdict]}, %{{x:.2f}}: %{{y}}<extra></extra>",
            )
    figure.update_layout(barmode="stack")
    count_axis(figure, most)
    figure.update_xaxes(range=[-0.02, 1.02])
    return figure


def _verdict(job: Job) -> str:
    if job.kind == "triage" and job.state == "done":
        return "· Triaged only"
    sign = VERDICT_SIGNS.get(job.verdict or "", "")
    return f"{sign} {VERDICT_SHORT.get(job.verdict or '', STATE_WORDS[job.state][0])}".strip()


def _decision(job: Job) -> str:
    if job.disposition is None:
        return ""
    name = DISPOSITIONS[job.disposition.disposition][0]
    return f"{name} (imported scan)" if is_imported(job) else name
