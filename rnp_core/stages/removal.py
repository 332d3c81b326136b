"""Backdoor removal: prune, and repair where pruning alone leaves a recovered trigger working."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from rnp_core.data import DefenseSet
from rnp_core.inversion import InversionConfig, RecoveredTrigger, invert
from rnp_core.model import SuspectModel
from rnp_core.progress import OnProgress, ignore_progress
from rnp_core.stages.prune import PruneConfig, PruneResult, prune
from rnp_core.stages.recover import RecoverResult
from rnp_core.stages.repair import RepairConfig, repair

STRONG_GOAL = 0.97
"""Flip rate asked of the triggers that removal works against; the verdict's own are minimal."""

STRONG_COPIES = 3
"""Triggers per label and kind, each from another start."""


@dataclass(frozen=True, eq=False)
class RemovalResult:
    """The model after removal.

    Attributes:
        model: pruned and, where ``fine_tuned``, repaired.
        pruned: what pruning did and weighed.
        fine_tuned: whether weights other than the pruned ones changed.
        triggers: the strong triggers that removal worked against.
    """

    model: SuspectModel
    pruned: PruneResult
    fine_tuned: bool
    triggers: tuple[RecoveredTrigger, ...]


def remove_backdoor(
    model: SuspectModel,
    recovered: RecoverResult,
    defense_set: DefenseSet,
    suspected: Sequence[int],
    *,
    kinds: Sequence[str] = ("patch", "additive"),
    inversion: InversionConfig = InversionConfig(),
    pruning: PruneConfig = PruneConfig(),
    repairing: RepairConfig | None = RepairConfig(),
    on_progress: OnProgress = ignore_progress,
) -> RemovalResult:
    """Remove the backdoors towards the suspected labels; without any, the model stays as it is.

    Args:
        kinds: kinds of trigger to work against.
        repairing: None leaves the repair step out.
    """
    strong = dataclasses.replace(inversion, goal=STRONG_GOAL)
    labels = [label for label in suspected for _ in range(STRONG_COPIES)]
    triggers: tuple[RecoveredTrigger, ...] = ()
    if labels:
        for kind in kinds:
            triggers += invert(
                model, defense_set, labels, kind=kind, config=strong, on_progress=on_progress
            )
    pruned = prune(model, recovered, defense_set, triggers, config=pruning, on_progress=on_progress)
    if not triggers or repairing is None:
        return RemovalResult(pruned.model, pruned, False, triggers)
    repaired = repair(
        pruned.model, defense_set, triggers, config=repairing, on_progress=on_progress
    )
    return RemovalResult(repaired, pruned, True, triggers)
