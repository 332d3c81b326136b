"""Our own scan as a method of the benchmark, whole or with one of its choices undone."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.baselines.contract import Defence, Outcome
from rnp_core.config import ScanConfig
from rnp_core.data import SuspectSet
from rnp_core.inversion import InversionConfig, RecoveredTrigger
from rnp_core.pipeline import scan
from rnp_core.report import LabelRow, ScanReport
from rnp_core.stages.recover import RecoverResult
from rnp_core.stages.target_label import (
    LabelEvidence,
    ScoreWeights,
    UniversalEvidence,
    accusing_kind,
    typical_size,
    weigh_universal,
)
from rnp_core.stages.triggers import second_looks

Change = Callable[[ScanConfig], ScanConfig]


def _plain_float32(config: ScanConfig) -> ScanConfig:
    return dataclasses.replace(config, precision="float32")


def _without_repair(config: ScanConfig) -> ScanConfig:
    return dataclasses.replace(config, repair=False)


def _without_pruning(config: ScanConfig) -> ScanConfig:
    prune = dataclasses.replace(config.prune_stage, max_share=0.0)
    return dataclasses.replace(config, prune_stage=prune)


def _single_opponent(config: ScanConfig) -> ScanConfig:
    repair = dataclasses.replace(config.repair_stage, copies=1)
    return dataclasses.replace(config, repair_stage=repair)


def _without_warm_up(config: ScanConfig) -> ScanConfig:
    repair = dataclasses.replace(config.repair_stage, warm_up=0)
    return dataclasses.replace(config, repair_stage=repair)


def _half_inversion(config: ScanConfig) -> ScanConfig:
    stage = dataclasses.replace(config.invert_stage, steps=config.invert_stage.steps // 2)
    return dataclasses.replace(config, invert_stage=stage)


def _any_flip_rate(config: ScanConfig) -> ScanConfig:
    weights = dataclasses.replace(config.weights, min_flip_rate=0.0)
    return dataclasses.replace(config, weights=weights)


def _without_growth(config: ScanConfig) -> ScanConfig:
    repair = dataclasses.replace(config.repair_stage, reach=1.0)
    return dataclasses.replace(config, repair_stage=repair)


def _looks_without(kind: str) -> Callable[[InversionConfig], list[tuple[str, InversionConfig]]]:
    return lambda config: [look for look in second_looks(config) if look[0] != kind]


def _triggers_as_they_are(
    _model: object, _clean: object, triggers: Sequence[RecoveredTrigger], **_settings: object
) -> tuple[RecoveredTrigger, ...]:
    return tuple(triggers)


def _no_triggers(*_arguments: object, **_settings: object) -> tuple[RecoveredTrigger, ...]:
    return ()


def _filters_by_mask_alone(recovered: RecoverResult) -> list[tuple[str, int, float]]:
    return sorted(
        (
            (name, index, float(value))
            for name, values in recovered.filter_mask.items()
            for index, value in enumerate(values)
        ),
        key=lambda entry: entry[2],
    )


def _weigh_against_median(
    trigger: RecoveredTrigger,
    triggers: Sequence[RecoveredTrigger],
    *,
    weights: ScoreWeights = ScoreWeights(),
) -> UniversalEvidence | None:
    middle = typical_size(triggers)
    typical = [dataclasses.replace(other, size=middle, flip_rate=1.0) for other in triggers]
    return weigh_universal(trigger, typical, weights=weights)


def _accusing_kind_alone(
    row: LabelEvidence, found: Mapping[str, Sequence[RecoveredTrigger]]
) -> list[str]:
    return [kind for kind in [accusing_kind(row, found)] if kind]


@dataclass(frozen=True)
class Ablation:
    """One choice of the default path undone.

    Attributes:
        title: what is undone.
        change: of the settings.
        replaced: full name of a constant or function of ``rnp_core`` to what stands in its place,
            for choices that are no settings.
    """

    title: str
    change: Change = lambda config: config
    replaced: Mapping[str, object] = field(default_factory=dict)


ABLATIONS: Mapping[str, Ablation] = {
    "float32": Ablation("float32 instead of bfloat16", _plain_float32),
    "no-repair": Ablation("pruning alone, no fine-tuning", _without_repair),
    "no-prune": Ablation("fine-tuning alone, no pruning", _without_pruning),
    "single-opponent": Ablation("one copy of each trigger during the repair", _single_opponent),
    "no-warm-up": Ablation("triggers do not move before the repair starts", _without_warm_up),
    "no-growth": Ablation("triggers stay within the median size in the repair", _without_growth),
    "one-round": Ablation("one repair at most", replaced={"rnp_core.stages.removal.ROUNDS": 1}),
    "half-inversion": Ablation("half the inversion steps", _half_inversion),
    "any-flip-rate": Ablation("triggers count however few images they flip", _any_flip_rate),
    "no-restarts": Ablation(
        "no further starts for the label of the largest share",
        replaced={"rnp_core.stages.triggers.RESTART_SHARE": 2.0},
    ),
    "no-additive": Ablation(
        "no additive triggers",
        replaced={"rnp_core.stages.triggers.second_looks": _looks_without("additive")},
    ),
    "no-warp": Ablation(
        "no warps", replaced={"rnp_core.stages.triggers.second_looks": _looks_without("warp")}
    ),
    "no-second-patch": Ablation(
        "no second start of patches",
        replaced={"rnp_core.stages.triggers.second_looks": _looks_without("patch")},
    ),
    "no-waves": Ablation(
        "no survey of waves", replaced={"rnp_core.stages.triggers.FEWEST_CLASSES": 10**6}
    ),
    "no-sources": Ablation(
        "no patches for a few classes",
        replaced={"rnp_core.stages.triggers.suits_sources": lambda classes: False},
    ),
    "no-half-way": Ablation(
        "patches for a few classes never end half-way",
        replaced={"rnp_core.stages.source_specific.PROMISING": 1.0},
    ),
    "no-settling-again": Ablation(
        "patches for a few classes settle once",
        replaced={"rnp_core.stages.triggers.settle_again": _no_triggers},
    ),
    "no-screening": Ablation(
        "patches of full length for 64 of more than 20 labels",
        replaced={"rnp_core.stages.triggers.SCREENED_FROM": 10**6},
    ),
    "any-class-always": Ablation(
        "patches to any other class beyond 20 classes, too",
        replaced={"rnp_core.stages.triggers.UNIVERSAL_UP_TO": 10**6},
    ),
    "any-class-against-median": Ablation(
        "a patch to any other class held against the median of those to one label",
        replaced={
            "rnp_core.stages.triggers.weigh_universal": _weigh_against_median,
            "rnp_core.pipeline.weigh_universal": _weigh_against_median,
        },
    ),
    "no-additive-at-agreement": Ablation(
        "no additive trigger where an agreement accuses a label whose patch is of ordinary size",
        replaced={"rnp_core.stages.target_label.LabelEvidence.has_small_trigger": True},
    ),
    "mask-alone": Ablation(
        "filters with equal masks pruned in the order of the network",
        replaced={"rnp_core.stages.prune.filter_order": _filters_by_mask_alone},
    ),
    "waves-alone": Ablation(
        "no additive trigger beside a wave in the repair",
        replaced={"rnp_core.stages.removal._kinds_against": _accusing_kind_alone},
    ),
    "no-strengthening": Ablation(
        "triggers shown as they were first found",
        replaced={"rnp_core.stages.removal.strengthen": _triggers_as_they_are},
    ),
}
"""By name. Terms of the score: :mod:`benchmarks.rescoring`."""


def our_scan(
    defence: Defence,
    *,
    config: ScanConfig,
    name: str = "ours",
    replaced: Mapping[str, object] = MappingProxyType({}),
) -> dict[str, Outcome]:
    """Run :func:`rnp_core.scan` as it is, or with what an :class:`Ablation` replaces."""
    suspects = None
    if defence.suspects is not None:
        ids = tuple(str(index) for index in range(len(defence.suspects)))
        suspects = SuspectSet(defence.suspects, ids)
    with contextlib.ExitStack() as undone:
        for target, value in replaced.items():
            undone.enter_context(patch(target, value))
        result = scan(defence.model, defence.clean, suspects=suspects, config=config)
    report = result.report
    samples = report.samples or None
    return {
        name: Outcome(
            verdict=report.verdict,
            score=report.backdoor_score,
            labels=tuple(report.suspected_target_labels),
            repaired=result.repaired,
            pruned_filters=len(report.pruned_filters),
            triggers=_triggers(result.triggers),
            sample_scores=_column([row.suspicion_score for row in samples]) if samples else None,
            sample_flags=_column([row.flagged for row in samples]) if samples else None,
            notes=_notes(report),
        )
    }


def _triggers(shown: Sequence[RecoveredTrigger]) -> dict[int, RecoveredTrigger]:
    """For every label the first trigger of the report, on which its score rests."""
    chosen: dict[int, RecoveredTrigger] = {}
    for trigger in shown:
        chosen.setdefault(trigger.label, trigger)
    return chosen


def _column(values: list[float] | list[bool]) -> Tensor:
    return torch.tensor(values)


def _notes(report: ScanReport) -> dict[str, object]:
    """The evidence behind the verdict, from which scores can be fitted without scanning again."""
    return {
        "reason": report.verdict_reason,
        "stages": {stage.name: round(stage.seconds, 2) for stage in report.stages},
        "failed_stages": [stage.name for stage in report.stages if stage.status == "failed"],
        "fine_tuned": report.was_tuned,
        "evidence": label_notes(report.labels),
    }


def label_notes(labels: Sequence[LabelEvidence | LabelRow]) -> list[dict[str, object]]:
    """The evidence by label as plain values."""
    return [
        {
            "label": row.label,
            "share": row.unlearned_share,
            "norm": row.trigger_norm,
            "ratio": row.norm_ratio,
            "margin": row.margin_ratio,
            "margin_outlier": row.margin_outlier,
            "agreement": row.agreement,
            "sinusoid": row.sinusoid_lead,
            "outlier": row.size_outlier,
            "kind": row.kind,
            "sources": list(row.sources),
            "score": row.score,
        }
        for row in labels
    ]
