"""Backdoor removal: prune, repair what pruning leaves, and invert again to see what is left."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rnp_core.data import DefenseSet
from rnp_core.inversion import ANY_LABEL, InversionConfig, RecoveredTrigger, invert
from rnp_core.model import SuspectModel
from rnp_core.progress import OnProgress, ignore_progress
from rnp_core.stages.prune import PruneConfig, PruneResult, prune
from rnp_core.stages.recover import RecoverResult
from rnp_core.stages.repair import RepairConfig, repair
from rnp_core.stages.sampling import with_controls
from rnp_core.stages.sinusoids import SINUSOID, survey_sinusoids
from rnp_core.stages.source_specific import SOURCE_SPECIFIC, find_source_specific
from rnp_core.stages.target_label import (
    COMPARED_AT_LEAST,
    SIZE_SPREAD,
    LabelEvidence,
    ScoreWeights,
    accusing_kind,
    best_trigger,
    effective_size,
    freedom,
    largest_normal,
    typical_size,
)
from rnp_core.stages.triggers import COMPARED_LABELS, strengthen

ROUNDS = 2
"""Repairs at most, the second one only where a label still stands out."""


@dataclass(frozen=True, eq=False)
class Recheck:
    """A label of a model from which its backdoor was removed.

    Attributes:
        trigger: the smallest one to the label that inverting again found.
        ratio: its effective size over the median size to labels that nobody suspects.
        typical: that median, in the unit of the kind.
        compared: how many labels gave it.
    """

    trigger: RecoveredTrigger
    ratio: float
    typical: float
    compared: int

    @property
    def stands_out(self) -> bool:
        """Whether the trigger is smaller than the smallest of as many innocent labels would be."""
        count = self.compared + 1
        chance = SIZE_SPREAD * (largest_normal(count) + freedom(self.trigger.kind))
        return -math.log(self.ratio) > chance


@dataclass(frozen=True, eq=False)
class RemovalResult:
    """The model after removal.

    Attributes:
        model: pruned and, where ``fine_tuned``, repaired.
        pruned: what pruning did and weighed.
        fine_tuned: whether weights other than the pruned ones changed.
        triggers: the recovered triggers that removal worked against.
        strong: the same, trained on until they flip nearly every image; to look at and to test
            with. Removal with them leaves more of some backdoors.
        rechecks: what inverting again found on ``model``, one for each label that was worked
            against.
    """

    model: SuspectModel
    pruned: PruneResult
    fine_tuned: bool
    triggers: tuple[RecoveredTrigger, ...]
    strong: tuple[RecoveredTrigger, ...] = ()
    rechecks: tuple[Recheck, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether ``model`` differs from the model that was given."""
        return self.fine_tuned or bool(self.pruned.filters)

    @property
    def repaired(self) -> SuspectModel | None:
        """``model``; None where it does not differ from the model that was given."""
        return self.model if self.changed else None


def remove_backdoor(
    model: SuspectModel,
    recovered: RecoverResult | None,
    defense_set: DefenseSet,
    suspected: Sequence[LabelEvidence],
    found: Mapping[str, Sequence[RecoveredTrigger]],
    *,
    universal: RecoveredTrigger | None = None,
    inverting: InversionConfig = InversionConfig(),
    pruning: PruneConfig = PruneConfig(),
    repairing: RepairConfig | None = RepairConfig(),
    min_flip_rate: float = ScoreWeights().min_flip_rate,
    on_progress: OnProgress = ignore_progress,
) -> RemovalResult:
    """Remove the backdoors that are suspected; without any, the model stays as it is.

    Against each label goes the kind of trigger that accused it, and an additive one beside a wave.
    While the model is repaired, a trigger may grow beyond the median size over all labels of its
    kind, which is what an innocent label takes
    (:attr:`rnp_core.stages.repair.RepairConfig.reach`).
    Then the triggers are inverted again. Where a label still stands out, the model is repaired once
    more, against what was found now.

    Args:
        recovered: masks that order the filters; None, for a network that cannot carry masks,
            leaves pruning out.
        suspected: evidence of the suspected labels.
        found: kind to recovered triggers of all labels.
        universal: a suspicious trigger to any other class; its limit is what one label takes.
        inverting: as the triggers were recovered with.
        repairing: None leaves the repair step out.
        min_flip_rate: from which a trigger works, as in the evidence.
    """
    chosen = [
        best_trigger(found[kind], row.label, min_flip_rate=min_flip_rate)
        for row in suspected
        for kind in _kinds_against(row, found)
    ]
    if universal is not None:
        chosen.append(universal)
    strong = strengthen(model, defense_set, chosen, config=inverting, on_progress=on_progress)
    if recovered is None:
        pruned = PruneResult(model.copy(), (), (), False)
    else:
        pruned = prune(
            model, recovered, defense_set, chosen, config=pruning, on_progress=on_progress
        )
    check = functools.partial(
        invert_again,
        defense_set=defense_set,
        removed=chosen,
        config=inverting,
        min_flip_rate=min_flip_rate,
        on_progress=on_progress,
    )
    if not chosen or repairing is None:
        rechecks = check(pruned.model)
        return RemovalResult(pruned.model, pruned, False, tuple(chosen), strong, rechecks)
    repaired, opponents = pruned.model, chosen
    limits = [typical_size(found[trigger.kind]) for trigger in chosen]
    for _ in range(ROUNDS):
        repaired = repair(
            repaired,
            defense_set,
            opponents,
            size_limits=limits,
            teacher=model,
            config=repairing,
            on_progress=on_progress,
        )
        rechecks = check(repaired)
        left = [row for row in rechecks if row.stands_out]
        if not left:
            break
        opponents, limits = [row.trigger for row in left], [row.typical for row in left]
    return RemovalResult(repaired, pruned, True, tuple(chosen), strong, rechecks)


def _kinds_against(
    row: LabelEvidence, found: Mapping[str, Sequence[RecoveredTrigger]]
) -> list[str]:
    """The kind that accused a label, and additive ones beside a sinusoid: waves lead to the target
    of another faint image too, and a repair against waves alone leaves that."""
    kind = accusing_kind(row, found)
    kinds = [kind] if kind else []
    if kind == SINUSOID and any(t.label == row.label for t in found.get("additive", ())):
        kinds.append("additive")
    return kinds


def invert_again(
    model: SuspectModel,
    defense_set: DefenseSet,
    removed: Sequence[RecoveredTrigger],
    *,
    config: InversionConfig = InversionConfig(),
    min_flip_rate: float = ScoreWeights().min_flip_rate,
    on_progress: OnProgress = ignore_progress,
) -> tuple[Recheck, ...]:
    """Whether the labels of ``removed`` triggers still need smaller triggers than others.

    Each label is compared with a few evenly spaced others, by triggers of the kind that accused it.

    Returns:
        One for each label; none where too few others are left to compare with, or the model knows
        too few classes for a search of the kind.
    """
    found = []
    everyone = list(range(model.num_classes))
    for kind in dict.fromkeys(trigger.kind for trigger in removed):
        own = sorted({t.label for t in removed if t.kind == kind and t.label != ANY_LABEL})
        labels = with_controls(own, everyone, max(COMPARED_LABELS, len(own) + COMPARED_AT_LEAST))
        others = len(labels) - len(own)
        if not own or others < COMPARED_AT_LEAST:
            continue
        again = _invert_kind(kind, model, defense_set, labels, config, on_progress)
        if not again:
            continue
        typical = typical_size([trigger for trigger in again if trigger.label not in own])
        for trigger in again:
            if trigger.label in own:
                ratio = effective_size(trigger, min_flip_rate=min_flip_rate) / typical
                found.append(Recheck(trigger, ratio, typical, others))
    return tuple(found)


def _invert_kind(
    kind: str,
    model: SuspectModel,
    defense_set: DefenseSet,
    labels: Sequence[int],
    config: InversionConfig,
    on_progress: OnProgress,
) -> tuple[RecoveredTrigger, ...]:
    """One trigger of a kind for each label, searched as it was found; none where none can be."""
    if kind == SOURCE_SPECIFIC:
        return find_source_specific(
            model, defense_set, labels, config=config, on_progress=on_progress
        )
    start: Sequence[RecoveredTrigger] = ()
    if kind == SINUSOID:
        survey = survey_sinusoids(model, defense_set, on_progress=on_progress)
        start = survey.starts(labels)
    return invert(
        model,
        defense_set,
        labels,
        kind=kind,
        start=start,
        config=config,
        on_progress=on_progress,
    )
