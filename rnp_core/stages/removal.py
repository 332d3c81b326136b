"""Backdoor removal: prune, then repair what pruning leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rnp_core.data import DefenseSet
from rnp_core.inversion import InversionConfig, RecoveredTrigger
from rnp_core.model import SuspectModel
from rnp_core.progress import OnProgress, ignore_progress
from rnp_core.stages.prune import PruneConfig, PruneResult, prune
from rnp_core.stages.recover import RecoverResult
from rnp_core.stages.repair import RepairConfig, repair
from rnp_core.stages.target_label import (
    LabelEvidence,
    ScoreWeights,
    best_trigger,
    typical_size,
)
from rnp_core.stages.triggers import strengthen


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
    """

    model: SuspectModel
    pruned: PruneResult
    fine_tuned: bool
    triggers: tuple[RecoveredTrigger, ...]
    strong: tuple[RecoveredTrigger, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether ``model`` differs from the model that was given."""
        return self.fine_tuned or bool(self.pruned.filters)


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

    Against each label goes the kind of trigger that accused it. While the model is repaired, a
    trigger may grow to the median size over all labels of its kind: what an innocent label takes.

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
        best_trigger(found[row.kind], row.label, min_flip_rate=min_flip_rate)
        for row in suspected
        if row.kind
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
    if not chosen or repairing is None:
        return RemovalResult(pruned.model, pruned, False, tuple(chosen), strong)
    repaired = repair(
        pruned.model,
        defense_set,
        chosen,
        size_limits=[typical_size(found[trigger.kind]) for trigger in chosen],
        teacher=model,
        config=repairing,
        on_progress=on_progress,
    )
    return RemovalResult(repaired, pruned, True, tuple(chosen), strong)
