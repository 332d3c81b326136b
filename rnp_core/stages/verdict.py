"""From evidence to a verdict: the one place where findings become a word and a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rnp_core.config import ScanConfig
from rnp_core.metrics import above_chance
from rnp_core.report import Finding, Severity, StageRow, Verdict
from rnp_core.stages.sinusoids import USUAL_LEAD
from rnp_core.stages.target_label import (
    COMPARED_AT_LEAST,
    LabelEvidence,
    UniversalEvidence,
    by_suspicion,
    suspected_target_labels,
)

DECISIVE_STAGES = ("unlearn", "margins", "triggers", "target label")
"""A verdict without one of these is inconclusive unless the others accuse the model."""

_GOOD_ENOUGH = 0.3  # share of the way from chance to 1 that the clean accuracy must reach
_GUESSING = 0.1  # the same, below which nothing accuses: a model that guesses is easily misled


@dataclass(frozen=True)
class Judgement:
    """The verdict, its score in [0, 1] (higher is more suspicious), and why in one sentence.

    ``target_depends_on_image`` says that a trigger to any other class is suspicious by itself.
    """

    verdict: Verdict
    backdoor_score: float
    reason: str
    suspected_target_labels: tuple[int, ...]
    findings: tuple[Finding, ...]
    target_depends_on_image: bool = False

    @property
    def accuses(self) -> bool:
        """Whether there is a backdoor to remove."""
        return bool(self.suspected_target_labels) or self.target_depends_on_image


def judge(
    labels: Sequence[LabelEvidence],
    names: Sequence[str],
    stages: Sequence[StageRow],
    *,
    clean_accuracy: float,
    collapsed: bool,
    config: ScanConfig,
    universal: UniversalEvidence | None = None,
) -> Judgement:
    """The verdict on a model.

    The score is that of the most suspicious label, or of a trigger to any other class where that
    is higher. A failed or missing stage, or a low clean accuracy, makes a verdict without
    accusation inconclusive and takes no accusation back, unless the model hardly does better than
    guessing. No verdict says "clean".

    Args:
        names: name of each label.
        clean_accuracy: of the original model on the clean images.
        collapsed: whether unlearning reached its stop accuracy.
    """
    suspected: tuple[int, ...] = ()
    if clean_accuracy >= above_chance(_GUESSING, len(names)):
        suspected = suspected_target_labels(
            labels, min_score=config.suspicious_score, further_score=config.backdoored_score
        )
    score = max((row.score for row in labels), default=0.0)
    findings = [_label_finding(labels[label], names, config) for label in suspected]
    enough = max(config.min_clean_accuracy, above_chance(_GOOD_ENOUGH, len(names)))
    wandering = (
        universal is not None
        and universal.score >= config.suspicious_score
        and clean_accuracy >= enough  # anything misleads a network that knows little
    )
    if universal is not None and wandering:
        score = max(score, universal.score)
        findings.append(_universal_finding(universal, config))
    gaps = [
        f"stage {stage.name} {stage.status}: {stage.detail}"
        for stage in stages
        if stage.name in DECISIVE_STAGES and stage.status != "done"
    ]
    if not collapsed and not any(s.name == "unlearn" and s.status != "done" for s in stages):
        gaps.append("unlearning did not bring the accuracy down")
    if len(names) < COMPARED_AT_LEAST:
        gaps.append(
            f"the model has {len(names)} classes, and with fewer than {COMPARED_AT_LEAST} no size "
            "of a trigger is typical, so that none can stand out"
        )
    if clean_accuracy < enough:
        gaps.append(
            f"the model gets only {clean_accuracy:.0%} of the clean images right, so its "
            "behaviour on them says little"
        )
    if findings and score >= config.backdoored_score:
        verdict: Verdict = "backdoored"
        reason = findings[0].message
    elif findings:
        verdict, reason = "suspicious", findings[0].message
    elif gaps:
        verdict, reason = "inconclusive", "; ".join(gaps) + "."
    else:
        top = by_suspicion(labels)[0]
        verdict = "no_evidence"
        reason = (
            "No evidence of a backdoor found by these checks: no label needs an unusually small "
            f"trigger (the smallest ratio to the median is {_smallest_ratio(labels):.2f}), and "
            f"the most suspicious label {_called(names[top.label], top.label)} scores "
            f"{top.score:.2f}."
        )
    findings.extend(Finding("medium", "verdict", gap, rule="RNP002") for gap in gaps)
    return Judgement(verdict, score, reason, suspected, tuple(findings), wandering)


def _label_finding(row: LabelEvidence, names: Sequence[str], config: ScanConfig) -> Finding:
    severity: Severity = "critical" if row.score >= config.backdoored_score else "high"
    parts = []
    if row.sinusoid_lead > USUAL_LEAD:
        parts.append("faint waves over the image lead to it as to no other label")
    if row.kind and (row.norm_ratio < 1 or not parts):
        sources = ", ".join(_called(names[source], source) for source in row.sources)
        moved = f"images of the classes {sources}" if sources else "other classes"
        parts.append(
            f"its {row.kind} trigger, {row.norm_ratio:.2f} times the median size, sends {moved} "
            "to it"
        )
    parts.append(f"the unlearned model sends {row.unlearned_share:.0%} of clean images to it")
    return Finding(
        severity,
        "target label",
        f"Label {_called(names[row.label], row.label)} behaves like the target of a backdoor: "
        + ", and ".join(parts)
        + ".",
        {
            "label": row.label,
            "norm_ratio": row.norm_ratio,
            "unlearned_share": row.unlearned_share,
            "anomaly_index": row.anomaly_index,
            "sinusoid_lead": row.sinusoid_lead,
            "score": row.score,
            "atlas": ["AML.T0018.000", "AML.T0043.004"],
        },
        "RNP001",
    )


def _universal_finding(universal: UniversalEvidence, config: ScanConfig) -> Finding:
    return Finding(
        "critical" if universal.score >= config.backdoored_score else "high",
        "triggers",
        "The model behaves as if its backdoor had a target that depends on the image: one patch, "
        f"{universal.norm_ratio:.2f} times the smallest that leads to a single label, changes "
        "the answer to images of every class.",
        {
            "norm_ratio": universal.norm_ratio,
            "score": universal.score,
            "atlas": ["AML.T0018.000", "AML.T0043.004"],
        },
        "RNP010",
    )


def _called(name: str, label: int) -> str:
    return str(label) if name == str(label) else f"{label} ({name})"


def _smallest_ratio(labels: Sequence[LabelEvidence]) -> float:
    return min((row.norm_ratio for row in labels if row.norm_ratio == row.norm_ratio), default=1.0)
