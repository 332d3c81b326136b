"""Suspect images: what a threshold does, distribution of the suspicion scores, table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.look import ACCENT, CALM, COLOURS, QUIET, count_axis, figure_of, stripes
from dashboard.text import label_name
from rnp_core import SampleRow, ScanReport

_BINS = 40


@dataclass(frozen=True, eq=False)
class Triage:
    """Suspects at one threshold.

    Attributes:
        threshold: a score above it is flagged; None where the scan gave none.
        samples: the suspects in input order, flagged by this threshold.
        clean_scores: suspicion scores of held-out clean images; empty where they were not kept.
        is_own: whether the scan itself chose this threshold.
    """

    threshold: float | None
    samples: Sequence[SampleRow]
    clean_scores: Sequence[float]
    is_own: bool

    @property
    def flagged(self) -> int:
        """Suspects above the threshold."""
        return sum(row.flagged for row in self.samples)

    @property
    def ranked(self) -> list[SampleRow]:
        """The suspects, the most suspicious first."""
        return sorted(self.samples, key=lambda row: (-row.suspicion_score, row.index))

    @property
    def false_positives(self) -> int:
        """Clean images above the threshold."""
        limit = self.threshold
        return 0 if limit is None else sum(score > limit for score in self.clean_scores)


def triage(report: ScanReport, threshold: float | None) -> Triage:
    """The suspects of a report at ``threshold``; None takes the scan's own."""
    own = report.sample_threshold
    clean = report.sample_clean_scores
    if threshold is None or own is None:
        return Triage(own, report.samples, clean, True)
    samples = [dataclasses.replace(row, flagged=row.suspicion_score > threshold)
               for row in report.samples]
    return Triage(threshold, samples, clean, False)


def suspicion_histogram(found: Triage) -> go.Figure:
    """How many suspects have which score; below, a line for each held-out clean image."""
    figure = figure_of(300 if found.clean_scores else 230, y="suspects", legend=True)
    limit = found.threshold if found.threshold is not None else 2.0
    highest = 0
    for flagged, name, colour, shape in (
        (False, "suspects", CALM, ""), (True, "flagged suspects", ACCENT, "/"),
    ):
        scores = [row.suspicion_score for row in found.samples if row.flagged is flagged]
        counts, edges = np.histogram(np.clip(scores, 0, 1), bins=_BINS, range=(0.0, 1.0))
        highest = max(highest, int(counts.max(initial=0)))
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2, y=counts, width=1 / _BINS, name=name,
            marker={"color": colour, "pattern": stripes(shape), "line": {"width": 0}},
            hovertemplate=f"score %{{x:.2f}}: %{{y}} {name}<extra></extra>",
        )
    if found.clean_scores:
        figure.add_scatter(
            x=list(found.clean_scores), y=[0.0] * len(found.clean_scores), yaxis="y2",
            mode="markers", name="clean images (held out)",
            marker={"symbol": "line-ns", "size": 14, "line": {"width": 1.5, "color": [
                ACCENT if score > limit else COLOURS[2] for score in found.clean_scores]}},
            hovertemplate="a clean image: %{x:.2f}<extra></extra>",
        )
    if found.threshold is not None:
        figure.add_vline(x=found.threshold, line={"color": QUIET, "dash": "dash"},
                         annotation_text="threshold", annotation_position="top left"
                         if found.threshold > 0.5 else "top right")
    if highest > 50:
        figure.update_yaxes(type="log", dtick=1, title="suspects (log scale)")
    else:
        count_axis(figure, highest)
    if found.clean_scores:
        figure.update_layout(
            yaxis={"domain": [0.2, 1.0]}, xaxis={"anchor": "y2"},
            yaxis2={"domain": [0.0, 0.12], "visible": False, "fixedrange": True,
                    "range": [-1, 1]},
        )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title="suspicion score", range=[-0.02, 1.02])
    return figure


def sample_table(report: ScanReport, found: Triage) -> pd.DataFrame:
    """Suspects, the most suspicious first; names of files and labels are untrusted text."""
    names = report.model.class_names
    rows = found.ranked
    return pd.DataFrame({
        "index": [row.index for row in rows],
        "id": [row.id for row in rows],
        "suspicion score": [row.suspicion_score for row in rows],
        "threshold": found.threshold,
        "flagged": [row.flagged for row in rows],
        "predicted": [label_name(row.predicted, names) for row in rows],
        "predicted by unlearned": [_asked(row.predicted_unlearned, names) for row in rows],
        "predicted by repaired": [_asked(row.predicted_repaired, names) for row in rows],
    })


def _asked(label: int | None, names: list[str]) -> str:
    """Empty where the model was not asked about the image."""
    return "" if label is None else label_name(label, names)
