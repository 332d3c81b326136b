"""What every method of the benchmark gets, and what it may give back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from rnp_core.data import DefenseSet
from rnp_core.errors import RnpError
from rnp_core.inversion import RecoveredTrigger
from rnp_core.model import SuspectModel


class NotApplicable(RnpError):
    """A method has no meaning for this model, for example a mask on BatchNorm without BatchNorm."""


class Measured(NamedTuple):
    """Accuracy on clean test images and success rate of the true trigger, both in [0, 1]; the
    latter is None without a trigger."""

    clean_accuracy: float
    attack_success_rate: float | None


Oracle = Callable[[SuspectModel], Measured]
"""Measures a model with the attacker's own trigger. No defender has it."""


@dataclass(frozen=True, eq=False)
class Defence:
    """The inputs of a defence.

    Attributes:
        model: the model under suspicion; a method works on a copy.
        clean: the clean labelled images.
        suspects: ``(N, C, H, W)`` in [0, 1], images to triage; None when there are none.
        flips: whether a mirrored image keeps its class, which decides the augmentation.
        seed: every method draws from it.
        oracle: the true trigger, for methods whose published code looks at it; None without attack.
    """

    model: SuspectModel
    clean: DefenseSet
    suspects: Tensor | None = None
    flips: bool = False
    seed: int = 0
    oracle: Oracle | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method says; None where it gives no answer.

    Attributes:
        verdict: as in ``rnp_core.report.Verdict``.
        score: of the model, higher is more suspicious, in any unit.
        labels: suspected target labels, most suspicious first.
        repaired: the model after removal.
        pruned_filters: how many filters removal silenced.
        triggers: label to the trigger that was recovered for it.
        sample_scores: ``(N,)`` of the suspects, higher is more suspicious.
        sample_flags: ``(N,)`` bool, the suspects that the method's own threshold flags.
        notes: plain values for the row, for example a whole sweep of thresholds.
    """

    verdict: str | None = None
    score: float | None = None
    labels: tuple[int, ...] | None = None
    repaired: SuspectModel | None = None
    pruned_filters: int | None = None
    triggers: Mapping[int, RecoveredTrigger] | None = None
    sample_scores: Tensor | None = None
    sample_flags: Tensor | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
