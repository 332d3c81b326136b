"""Findings about the stages themselves: what was repaired, what was flagged, what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rnp_core.inversion import ANY_LABEL
from rnp_core.metrics import wilson_interval
from rnp_core.report import Finding, Severity, StageRow, TriggerRow
from rnp_core.stages.removal import Recheck, RemovalResult
from rnp_core.stages.samples import SampleScores
from rnp_core.stages.triggers import TriggerSearch
from rnp_core.stages.verdict import DECISIVE_STAGES

STILL_WORKS = 0.5
"""Flip rate of a recovered trigger on the repaired model from which removal has not worked."""


def removal_findings(
    accused: bool,
    removal: RemovalResult | None,
    stage: StageRow,
    triggers: Sequence[TriggerRow],
) -> list[Finding]:
    """What happened to the model, and a warning where it is not repaired.

    Args:
        accused: whether the verdict names a backdoor; without one, nothing was to be removed.
        stage: how the removal stage ended.
        triggers: rows of the report.
    """
    if not accused:
        return []
    if removal is None or not removal.changed:
        reason = f"the stage {stage.status}: {stage.detail}" if removal is None else (
            "no set of filters disarms the recovered triggers at a tolerable accuracy, and the "
            "repair step was left out"
        )
        message = f"Nothing was removed, {reason}. The file of the repaired model holds the "
        return [Finding("high", "removal", message + "original weights.", rule="RNP008")]
    findings = []
    if removal.fine_tuned:
        pruned = "pruned and then " if removal.pruned.filters else ""
        differ = "beyond the pruned filters" if removal.pruned.filters else "though none is pruned"
        findings.append(
            Finding(
                "info",
                "removal",
                f"The repaired model was {pruned}fine-tuned on the clean images with the recovered "
                f"triggers; its weights differ {differ}.",
                {"pruned": len(removal.pruned.filters), "disarmed": removal.pruned.disarmed},
                "RNP004",
            )
        )
    used = {(trigger.label, trigger.kind) for trigger in removal.triggers}
    working = [
        row
        for row in triggers
        if (row.label, row.kind) in used and row.flip_rate_repaired >= STILL_WORKS
    ]
    findings += [
        Finding(
            "high",
            "removal",
            f"The recovered {row.kind} trigger still sends {row.flip_rate_repaired:.0%} of the "
            + (
                "images to another class "
                if row.label == ANY_LABEL
                else f"images of {'some other' if row.sources else 'other'} classes to label "
                f"{row.label} "
            )
            + "after the removal.",
            {"label": row.label, "kind": row.kind, "flip_rate_repaired": row.flip_rate_repaired},
            "RNP008",
        )
        for row in working
    ]
    return findings + [_recheck_finding(row) for row in removal.rechecks]


def _recheck_finding(row: Recheck) -> Finding:
    label, kind = row.trigger.label, row.trigger.kind
    still = row.stands_out
    return Finding(
        "high" if still else "info",
        "removal",
        f"Inverted again on the repaired model, the {kind} trigger to label {label} is "
        f"{row.ratio:.2f} times the median size to {row.compared} other labels: "
        + ("the label still stands out." if still else "the label does not stand out any more."),
        {"label": label, "kind": kind, "norm_ratio": row.ratio},
        "RNP008" if still else "RNP011",
    )


def screening_findings(search: TriggerSearch | None, num_classes: int) -> list[Finding]:
    """Which labels got less than the whole search, where there are many."""
    if search is None:
        return []
    weighed = {trigger.label for found in search.by_kind.values() for trigger in found}
    screened = {trigger.label for trigger in search.screened} - weighed
    missing = num_classes - len(weighed) - len(screened)
    findings = []
    if screened:
        findings.append(
            Finding(
                "info",
                "triggers",
                f"{len(screened)} of {num_classes} labels got a short first round of "
                "trigger recovery only: theirs came out large. Their triggers are shown, and count "
                "as no evidence.",
                {"screened": len(screened)},
                "RNP002",
            )
        )
    if missing:
        findings.append(
            Finding(
                "medium",
                "triggers",
                f"For {missing} of {num_classes} labels no trigger was looked for; for those only "
                "the unlearned model speaks. A larger max_labels looks at more, and takes longer.",
                {"not_inverted": missing},
                "RNP002",
            )
        )
    return findings


def skipped_map_findings(skipped: Mapping[str, str]) -> list[Finding]:
    """Attributions that could not be made, each with its reason."""
    return [
        Finding("info", "attributions", f"No attribution by {name}: {reason}.", rule="RNP009")
        for name, reason in skipped.items()
    ]


def sample_findings(scores: SampleScores | None) -> list[Finding]:
    """A finding when suspects were flagged; high when more than clean images would explain."""
    flagged = int(scores.flagged.sum()) if scores else 0
    if scores is None or not flagged:
        return []
    count = len(scores.flagged)
    expected = scores.compared_fpr * scores.compared
    unusual = wilson_interval(flagged, scores.compared)[0] > scores.compared_fpr
    severity: Severity = "low"
    if unusual:
        severity = "high" if scores.basis == "repaired" else "medium"
    return [
        Finding(
            severity,
            "samples",
            f"{flagged} of {count} suspect images are flagged; about {expected:.0f} would be if "
            "all were clean.",
            {"flagged": flagged, "count": count, "threshold": scores.threshold,
             "compared_with": scores.basis},
            "RNP007",
        )
    ]


def failed_stage_findings(stages: Sequence[StageRow]) -> list[Finding]:
    """Stages that failed and on which no verdict rests; those are named by the verdict."""
    return [
        Finding("medium", stage.name, f"The stage {stage.name} failed: {stage.detail}.",
                rule="RNP009")
        for stage in stages
        if stage.status == "failed" and stage.name not in (*DECISIVE_STAGES, "removal")
    ]
