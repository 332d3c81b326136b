"""The figures of a report as plain values; :mod:`.svg` and :mod:`.charts` draw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rnp_core.report import ScanReport
from rnp_core.reports.text import isolated, number, percent, shown

MOST_LABELS = 12
MOST_CLASSES = 24
MOST_FILTERS = 1200
_BINS = 25

Tone = Literal["accent", "calm", "second", "third", "fourth", "quiet"]
TONES: tuple[Tone, ...] = ("accent", "calm", "second", "third", "fourth")


@dataclass(frozen=True)
class Series:
    """Values of one colour. ``y`` has an entry for every entry of ``x``; None is a gap."""

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    tone: Tone
    dash: bool = False


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        id: letters and dashes, unique in a report.
        title: what it shows.
        reading: how to read it, and what it says here.
        kind: "lines" and "dots" have numbers on both axes; "columns" are bars over numbers, all
            as wide as the first step of x; "bars" lie, one for every entry of ``categories``.
        x_label, y_label: axis titles.
        series: what is drawn.
        categories: names of the bars, from the top.
        marks: (value, name) of vertical lines on the x axis.
        x_range, y_range: ends of the axes; None fits the values.
    """

    id: str
    title: str
    reading: str
    kind: Literal["lines", "dots", "columns", "bars"]
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    categories: tuple[str, ...] = ()
    marks: tuple[tuple[float, str], ...] = ()
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None


def figures(report: ScanReport) -> dict[str, Figure]:
    """The figures for which a report has values, by id."""
    made = (
        _trigger_sizes(report),
        _unlearning(report),
        _filter_masks(report),
        _pruning(report),
        _flips(report),
        _suspicion(report),
    )
    return {figure.id: figure for figure in made if figure is not None}


def label_name(report: ScanReport, label: int, *, most: int = 40) -> str:
    """``"5 (no entry)"``, or the number alone where the name says no more.

    A name in a script that runs from right to left is isolated, so that the number stays in front.
    The label -1 of a trigger stands for any other class.
    """
    if label < 0:
        return "any other class"
    names = report.model.class_names
    name = shown(names[label], most=most) if 0 <= label < len(names) else str(label)
    if name == str(label):
        return name
    return f"{label} ({isolated(name)})"


def _trigger_sizes(report: ScanReport) -> Figure | None:
    rows = [row for row in report.ranked_labels if row.norm_ratio is not None][:MOST_LABELS]
    if not rows:
        return None
    suspected = set(report.suspected_target_labels)
    series = tuple(
        Series(
            name,
            tuple(float(i) for i in range(len(rows))),
            tuple(row.norm_ratio if (row.label in suspected) == wanted else None for row in rows),
            tone,
        )
        for name, wanted, tone in (
            ("suspected", True, TONES[0]),
            ("other labels", False, TONES[1]),
        )
        if any((row.label in suspected) == wanted for row in rows)
    )
    smallest = min(row.norm_ratio for row in rows if row.norm_ratio is not None)
    some = any(row.sources for row in rows)
    return Figure(
        id="trigger-sizes",
        title="Size of the smallest trigger of each label, relative to the median label",
        reading="A backdoor makes one label far easier to reach than the others, so its bar is far "
        f"shorter than 1. The shortest here is {number(smallest)}."
        + (" A patch for images of a few classes only is often half as large." if some else ""),
        kind="bars",
        x_label="trigger size (median label = 1)",
        y_label="label",
        series=series,
        categories=tuple(label_name(report, row.label, most=20) for row in rows),
        marks=((1.0, "median"),),
        x_range=(0.0, max(1.2, *(min(row.norm_ratio or 0.0, 3.0) for row in rows))),
    )


def _unlearning(report: ScanReport) -> Figure | None:
    table = report.curves.unlearn_shares
    if len(table) < 2 or not table[0] or len({len(row) for row in table}) > 1:
        return None
    shares = np.asarray(table, float)  # (steps, labels)
    order = np.argsort(-shares[-1], kind="stable").tolist()
    known = [label for label in report.suspected_target_labels if label < shares.shape[1]]
    leading = list(dict.fromkeys([*known, *order]))
    tones = TONES if known else TONES[1:]
    steps = tuple(float(step + 1) for step in range(len(shares)))
    series = tuple(
        Series(label_name(report, label, most=24), steps, _floats(shares[:, label]), tone, i > 1)
        for i, (label, tone) in enumerate(zip(leading, tones, strict=False))
    )
    top = order[0]
    return Figure(
        id="unlearning",
        title="What the model answers while it unlearns the clean images",
        reading="A backdoored network drifts to its target label; an innocent one spreads over "
        f"several. At the end label {label_name(report, top)} has {percent(float(shares[-1, top]))}"
        " of the answers.",
        kind="lines",
        x_label="step",
        y_label="share of answers",
        series=series,
        y_range=(0.0, 1.0),
    )


def _filter_masks(report: ScanReport) -> Figure | None:
    masks = report.curves.filter_masks
    if not masks:
        return None
    layers = {name: place for place, name in enumerate(masks)}
    pruned = {(row.layer, row.index) for row in report.pruned_filters}
    points = [
        (place + 0.1 + 0.8 * i / max(1, len(masks[name])), value, (name, i) in pruned)
        for name, place in layers.items()
        for i, value in enumerate(masks[name])
    ]
    count = len(points)
    points = sorted(points, key=lambda point: (not point[2], point[1]))[:MOST_FILTERS]
    parts = [("kept", False, TONES[1]), ("pruned", True, TONES[0])]
    series = tuple(
        Series(name, tuple(p[0] for p in some), tuple(p[1] for p in some), tone)
        for name, wanted, tone in parts
        if (some := [p for p in points if p[2] == wanted])
    )
    left_out = f" The {count - len(points):,} highest are left out." if count > len(points) else ""
    return Figure(
        id="filter-masks",
        title="Masks of the filters after recovery, layer by layer",
        reading="Filters near 1 came back with the clean behaviour. Those that stay near 0 carry "
        f"something else, and are pruned first: {len(pruned)} of {count:,} were.{left_out}",
        kind="dots",
        x_label="layer, from the input",
        y_label="mask",
        series=series,
        x_range=(0.0, float(len(layers))),
        y_range=(-0.02, 1.05),
    )


def _pruning(report: ScanReport) -> Figure | None:
    rows = [row for row in report.curves.prune_candidates if len(row) > 3 and row[0] is not None]
    if len(rows) < 2:
        return None
    counts = tuple(float(row[0] or 0.0) for row in rows)
    return Figure(
        id="pruning",
        title="Pruning more filters: accuracy and what the recovered trigger still does",
        reading="Pruning takes as few filters as bring the flip rate down while the accuracy "
        f"stays. {len(report.pruned_filters)} were pruned.",
        kind="lines",
        x_label="pruned filters",
        y_label="share of images",
        series=(
            Series("clean accuracy", counts, tuple(row[2] for row in rows), TONES[1]),
            Series("flip rate", counts, tuple(row[3] for row in rows), TONES[0], True),
        ),
        y_range=(0.0, 1.0),
    )


def _flips(report: ScanReport) -> Figure | None:
    if not (report.accuses and report.triggers):
        return None
    row = report.triggers[0]
    classes = [i for i, rate in enumerate(row.flip_rate_per_class) if rate is not None]
    classes = classes[:MOST_CLASSES]
    if not classes:
        return None
    after = row.flip_rate_per_class_repaired
    places = tuple(float(i) for i in range(len(classes)))
    return Figure(
        id="flips",
        title="Images of each class that the recovered trigger sends to "
        f"{label_name(report, row.label)}",
        reading=f"Over all {'these' if row.sources else 'other'} classes: "
        f"{percent(row.flip_rate)} before the removal, {percent(row.flip_rate_repaired)} after "
        "it, on held-out clean images.",
        kind="bars",
        x_label="share of images that flip",
        y_label="true class",
        series=(
            Series("before", places, tuple(row.flip_rate_per_class[i] for i in classes), TONES[0]),
            Series(
                "after",
                places,
                tuple(after[i] if i < len(after) else None for i in classes),
                TONES[1],
            ),
        ),
        categories=tuple(label_name(report, i, most=20) for i in classes),
        x_range=(0.0, 1.0),
    )


def _suspicion(report: ScanReport) -> Figure | None:
    scores = [row.suspicion_score for row in report.samples if row.suspicion_score is not None]
    if len(scores) < 2:
        return None
    edges = np.linspace(min(0.0, *scores), max(1.0, *scores), _BINS + 1)
    centres = tuple(((edges[:-1] + edges[1:]) / 2).tolist())
    flagged = [row.suspicion_score for row in report.samples if row.flagged]
    rest = [row.suspicion_score for row in report.samples if not row.flagged]
    threshold = report.sample_threshold
    parts = (("not flagged", rest, TONES[1]), ("flagged", flagged, TONES[0]))
    return Figure(
        id="suspicion",
        title="Suspicion scores of the suspect images",
        reading=f"{_score_meaning(report)} "
        f"{len(flagged):,} of {len(scores):,} images lie above the threshold, which was set on "
        f"held-out clean images{_clean_above(report)}.",
        kind="columns",
        x_label="suspicion score",
        y_label="images",
        series=tuple(
            Series(name, centres, _floats(np.histogram(values, edges)[0]), tone)
            for name, values, tone in parts
            if values
        ),
        marks=((threshold, "threshold"),) if threshold is not None else (),
        x_range=(float(edges[0]), float(edges[-1])),
    )


def _score_meaning(report: ScanReport) -> str:
    """What the suspicion score of this report is."""
    if not report.was_repaired:
        return "The score is the confidence that the unlearned model still has in the answer."
    only = "" if report.target_depends_on_image else ", of answers that are a suspected label"
    return f"The score is the confidence that the removal took away{only}."


def _clean_above(report: ScanReport) -> str:
    scores, threshold = report.sample_clean_scores, report.sample_threshold
    if not scores or threshold is None:
        return ""
    return f" ({sum(score > threshold for score in scores):,} of {len(scores):,} lie above it too)"


def _floats(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(float(value) for value in values)
