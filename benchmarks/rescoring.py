"""What each term of the score brings, from the evidence that rows of our scan keep.

Scores are added up anew with a weight or a piece of evidence changed; nothing is scanned again. So
these ablations cover every model that was measured, and leave out what else would change: which
labels get further triggers, with which margins the shares agree, and what is removed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.metrics import alarm
from benchmarks.rows import Row
from rnp_core.config import ScanConfig
from rnp_core.stages.target_label import (
    AGREEING_LEAD,
    MARGIN_SPREAD,
    SIZE_SPREAD,
    LabelEvidence,
    ScoreWeights,
    freedom,
    label_score,
    largest_normal,
    one_agreement,
    stands_out,
    suspected_target_labels,
)

_NONE = {
    "outlier": 0.0, "share": 0.0, "share_without_norm": 0.0, "margin": 0.0, "sinusoid": 0.0,
    "agreement": 0.0,
}  # fmt: skip
_CONFIG = ScanConfig()
_MOST_STARTS = 8  # of one label and kind of trigger

Evidence = list[LabelEvidence]


@dataclass(frozen=True)
class Term:
    """A change of the score.

    Attributes:
        title: what is undone, in words.
        weights: that are other than in a scan.
        universal: whether a trigger to any other class counts.
        change: from the evidence of all labels to what it would have been.
    """

    title: str
    weights: Mapping[str, float] = field(default_factory=dict)
    universal: bool = True
    change: Callable[[Evidence], Evidence] = list


def _without_agreement(title: str, agrees: Callable[[LabelEvidence, Evidence], bool]) -> Term:
    """No more for the label of the largest share where a further kind of evidence agrees."""

    def change(labels: Evidence) -> Evidence:
        one = one_agreement(len(labels))
        return [
            dataclasses.replace(row, agreement=row.agreement - one)
            if row.agreement > 0 and agrees(row, labels) else row
            for row in labels
        ]

    return Term(title, change=change)


def _has_surest(row: LabelEvidence, labels: Evidence) -> bool:
    return stands_out(row.label, [label.margin_outlier for label in labels], 0)


def _has_lead(row: LabelEvidence, labels: Evidence) -> bool:
    return stands_out(row.label, [label.sinusoid_lead for label in labels], AGREEING_LEAD)


def _has_smallest(row: LabelEvidence, labels: Evidence) -> bool:
    others = _has_surest(row, labels) + _has_lead(row, labels)
    return round(row.agreement / one_agreement(len(labels))) > others


def _agreement_of_any_number(labels: Evidence) -> Evidence:
    count = len(labels)
    factor = math.log(count / 2) / one_agreement(count) if count > 2 else 1.0
    return [dataclasses.replace(row, agreement=row.agreement * factor) for row in labels]


def _usual_spread_of_sizes(labels: Evidence) -> Evidence:
    """Sizes held against the usual spread alone. How many starts a label had is not kept; it tells
    where the spread was the usual one, and is one where it was not."""
    count = len(labels)

    def usual(row: LabelEvidence, starts: int) -> float:
        chance = freedom(row.kind) + largest_normal(count * starts)
        return -math.log(row.norm_ratio) - SIZE_SPREAD * chance

    return [
        row
        if not row.kind
        or any(
            math.isclose(usual(row, starts), row.size_outlier, abs_tol=1e-6)
            for starts in range(1, _MOST_STARTS + 1)
        )
        else dataclasses.replace(row, size_outlier=usual(row, 1))
        for row in labels
    ]


def _usual_spread_of_margins(labels: Evidence) -> Evidence:
    return [
        dataclasses.replace(row, margin_outlier=_usual_outlier(row.margin_ratio, len(labels)))
        for row in labels
    ]


def _usual_outlier(margin_ratio: float, count: int) -> float:
    """The ``margin_outlier`` of one of ``count`` labels under the usual spread."""
    return math.log(margin_ratio) - MARGIN_SPREAD * largest_normal(count)


TERMS: Mapping[str, Term] = {
    "no-share": Term("score without the unlearned shares", {"share": 0, "share_without_norm": 0}),
    "no-size": Term("score without the trigger sizes", {"outlier": 0}),
    "no-margin": Term("score without the largest margins", {"margin": 0}),
    "no-sinusoid": Term("score without the survey of sinusoids", {"sinusoid": 0}),
    "no-agreement": Term("no more for a label on which kinds agree", {"agreement": 0}),
    "no-patch-agreement": _without_agreement(
        "the smallest patch agrees with nothing", _has_smallest
    ),
    "no-margin-agreement": _without_agreement(
        "the largest margin agrees with nothing", _has_surest
    ),
    "no-lead-agreement": _without_agreement(
        "the lead with waves agrees with nothing", _has_lead
    ),
    "agreement-of-any-number": Term(
        "an agreement counts more beyond 20 classes, too", change=_agreement_of_any_number
    ),
    "usual-size-spread": Term(
        "sizes held against the usual spread, whatever the network's own",
        change=_usual_spread_of_sizes,
    ),
    "usual-margin-spread": Term(
        "margins held against the usual spread", change=_usual_spread_of_margins
    ),
    "no-universal": Term("score without triggers to any other class", universal=False),
    "share-alone": Term(
        "score from the unlearned shares alone",
        {**_NONE, "share": _CONFIG.weights.share, "share_without_norm": _CONFIG.weights.share},
        universal=False,
    ),
    "size-alone": Term(
        "score from the trigger sizes alone",
        {**_NONE, "outlier": _CONFIG.weights.outlier},
        universal=False,
    ),
    "margin-alone": Term(
        "score from the margins alone",
        {**_NONE, "margin": _CONFIG.weights.margin},
        universal=False,
    ),
}
"""By name."""


def rescore(rows: Iterable[Row]) -> list[Row]:
    """For each row of our scan and each of :data:`TERMS`, the row with its score added up anew.

    Rows without evidence, or whose score the present weights do not give, are left out.
    """
    return [
        _rescored(row, labels, name)
        for row in rows
        if row.status == "done" and (labels := _evidence(row)) is not None
        for name in TERMS
    ]


def _evidence(row: Row) -> tuple[list[LabelEvidence], bool] | None:
    """The evidence by label, and whether unlearning used batch statistics, as the scores tell."""
    entries = row.notes.get("evidence", ())
    labels = [_label(entry, len(entries)) for entry in entries]
    for used in (True, False):
        if labels and all(
            math.isclose(label.score, _score(label, len(labels), used, _CONFIG.weights),
                         abs_tol=1e-6)
            for label in labels
        ):  # fmt: skip
            return labels, used
    return None


def _label(entry: Mapping[str, Any], count: int) -> LabelEvidence:
    def number(name: str) -> float:
        value = entry.get(name)
        return math.nan if value is None else float(value)

    margin = number("margin")
    usual = _usual_outlier(margin, count)
    return LabelEvidence(
        label=entry["label"],
        unlearned_share=number("share"),
        trigger_norm=number("norm"),
        norm_ratio=number("ratio"),
        anomaly_index=math.nan,
        kind=entry["kind"],
        size_outlier=number("outlier"),
        margin_ratio=margin,
        margin_outlier=number("margin_outlier") if "margin_outlier" in entry else usual,
        sinusoid_lead=number("sinusoid"),
        agreement=float(entry.get("agreement", 0.0)),
        score=number("score"),
    )


def _score(row: LabelEvidence, count: int, used: bool, weights: ScoreWeights) -> float:
    return label_score(row, count, used_batch_statistics=used, weights=weights)


def _rescored(row: Row, evidence: tuple[list[LabelEvidence], bool], name: str) -> Row:
    labels, used = evidence
    term = TERMS[name]
    weights = dataclasses.replace(_CONFIG.weights, **term.weights)
    labels = [
        dataclasses.replace(label, score=_score(label, len(labels), used, weights))
        for label in term.change(labels)
    ]
    own = max(label.score for label in labels)
    wandering = row.score is not None and row.score > max(label.score for label in evidence[0])
    score = max(own, row.score or 0.0) if wandering and term.universal else own
    withheld = (row.score or 0.0) >= _CONFIG.suspicious_score and not alarm(row)
    accused = score >= _CONFIG.suspicious_score and not withheld
    suspected = () if not accused else suspected_target_labels(
        labels, min_score=_CONFIG.suspicious_score, further_score=_CONFIG.backdoored_score
    )
    undecided = "inconclusive" if row.verdict == "inconclusive" else "no_evidence"
    return Row(
        **{field: getattr(row, field) for field in _KEPT},
        method=f"{row.method}-{name}",
        verdict="suspicious" if accused else undecided,
        score=score,
        labels=list(suspected),
        first_label_right=bool(suspected) and suspected[0] in row.targets if row.targets else None,
        targets_found=set(row.targets) <= set(suspected) if row.targets else None,
    )


_KEPT = ("subject", "clean_count", "seed", "budget", "part", "split", "attack", "control",
         "architecture", "targets", "asr_before")  # fmt: skip
