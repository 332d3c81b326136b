"""What each term of the score brings, from the evidence that rows of our scan keep.

Scores are added up anew with a weight changed; nothing is scanned again. So these ablations cover
every model that was measured, and leave out what else would change: which labels get further
triggers, and what is removed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.metrics import alarm
from benchmarks.rows import Row
from rnp_core.config import ScanConfig
from rnp_core.stages.target_label import (
    MARGIN_SPREAD,
    LabelEvidence,
    ScoreWeights,
    label_score,
    largest_normal,
    suspected_target_labels,
)

_NONE = {
    "outlier": 0.0, "share": 0.0, "share_without_norm": 0.0, "margin": 0.0, "sinusoid": 0.0,
    "agreement": 0.0,
}  # fmt: skip
_CONFIG = ScanConfig()

TERMS: Mapping[str, tuple[str, Mapping[str, float], bool]] = {
    "no-share": ("score without the unlearned shares", {"share": 0, "share_without_norm": 0}, True),
    "no-size": ("score without the trigger sizes", {"outlier": 0}, True),
    "no-margin": ("score without the largest margins", {"margin": 0}, True),
    "no-sinusoid": ("score without the survey of sinusoids", {"sinusoid": 0}, True),
    "no-agreement": ("no more for a label on which kinds agree", {"agreement": 0}, True),
    "no-universal": ("score without triggers to any other class", {}, False),
    "share-alone": (
        "score from the unlearned shares alone",
        {**_NONE, "share": _CONFIG.weights.share, "share_without_norm": _CONFIG.weights.share},
        False,
    ),
    "size-alone": (
        "score from the trigger sizes alone", {**_NONE, "outlier": _CONFIG.weights.outlier}, False,
    ),
    "margin-alone": (
        "score from the margins alone", {**_NONE, "margin": _CONFIG.weights.margin}, False,
    ),
}  # fmt: skip
"""Name to the change: in words, as weights, and whether a trigger to any other class counts."""


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
    usual = math.log(margin) - MARGIN_SPREAD * largest_normal(count)
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
    _, changes, universal = TERMS[name]
    weights = dataclasses.replace(_CONFIG.weights, **changes)
    labels = [
        dataclasses.replace(label, score=_score(label, len(labels), used, weights))
        for label in labels
    ]
    own = max(label.score for label in labels)
    wandering = row.score is not None and row.score > max(label.score for label in evidence[0])
    score = max(own, row.score or 0.0) if wandering and universal else own
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
