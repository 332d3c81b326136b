"""Pruning: silence the filters that did not come back, as many as the evidence asks for.

The published method sweeps a threshold and reads the best one off the attacker's own trigger. Here
the threshold is chosen with what a defender has: the clean images, and the triggers that were
recovered from the model itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rnp_core.data import DefenseSet
from rnp_core.errors import ConfigError
from rnp_core.fold import fold_batch_norms
from rnp_core.inversion import RecoveredTrigger, flip_rate
from rnp_core.metrics import predict
from rnp_core.model import SuspectModel
from rnp_core.progress import FORWARD_WORK, OnProgress, Progress, ignore_progress
from rnp_core.ranges import check_range
from rnp_core.stages.filter_mask import prune_filters
from rnp_core.stages.recover import RecoverResult


@dataclass(frozen=True)
class PruneConfig:
    """Settings of :func:`prune`.

    Raises:
        ConfigError: when a value is outside its range.
    """

    max_accuracy_drop: float = 0.02  # clean accuracy that pruning may cost, on the fitting images
    target_flip_rate: float = 0.10  # a recovered trigger that flips fewer images is disarmed
    max_share: float = 0.20  # of all filters
    growth: float = 2.0  # factor between the candidate counts, above 1

    def __post_init__(self) -> None:
        for name in ("max_accuracy_drop", "target_flip_rate", "max_share"):
            check_range(self, name, 0, 1)
        if not self.growth > 1:
            raise ConfigError(f"expected a growth above 1, got {self.growth}")


@dataclass(frozen=True)
class PruneCandidate:
    """Outcome of pruning the first ``count`` filters.

    Attributes:
        count: filters pruned.
        mask_value: largest mask value among them, the threshold in the sense of the paper.
        clean_accuracy: on the clean images.
        flip_rate: largest flip rate among the recovered triggers, NaN without triggers.
    """

    count: int
    mask_value: float
    clean_accuracy: float
    flip_rate: float


@dataclass(frozen=True)
class PrunedFilter:
    """One pruned filter.

    Attributes:
        layer, index: where it is.
        mask_value: its filter mask, [0, 1]; low values did not come back in recovery.
        score: its place in the order, (0, 1]: 1 for the first of the n filters of the network to
            go, in equal steps down to 1 / n for the last.
    """

    layer: str
    index: int
    mask_value: float
    score: float


@dataclass(frozen=True, eq=False)
class PruneResult:
    """The pruned model and every candidate that was weighed.

    Attributes:
        model: the original model with the chosen filters silenced.
        filters: the chosen filters, first to go first; empty when nothing speaks for pruning.
        candidates: in growing order of count; the first one has count 0.
        disarmed: whether every recovered trigger flips at most ``target_flip_rate`` afterwards.
    """

    model: SuspectModel
    filters: tuple[PrunedFilter, ...]
    candidates: tuple[PruneCandidate, ...]
    disarmed: bool


def filter_order(recovered: RecoverResult) -> list[tuple[str, int, float]]:
    """Every filter as (layer, index, mask value), the least recovered first.

    Filters with equal masks (many end at exactly 0) are ordered by ``filter_rank``.
    """
    entries = [
        (float(value), float(rank), name, index)
        for name, values in recovered.filter_mask.items()
        for index, (value, rank) in enumerate(zip(values, recovered.filter_rank[name], strict=True))
    ]
    return [(name, index, value) for value, _, name, index in sorted(entries)]


def prune(
    model: SuspectModel,
    recovered: RecoverResult,
    defense_set: DefenseSet,
    triggers: Sequence[RecoveredTrigger],
    *,
    config: PruneConfig = PruneConfig(),
    on_progress: OnProgress = ignore_progress,
) -> PruneResult:
    """Prune the fewest filters that disarm the recovered triggers at a tolerable accuracy.

    Without triggers nothing speaks for pruning, and the model comes back as it is.

    Args:
        triggers: the recovered triggers of the suspected labels.

    Raises:
        ScanCancelled: when the callback raises it.
    """
    order = filter_order(recovered)
    baseline = _candidate(model, order, 0, defense_set, triggers)
    candidates = [baseline]
    if triggers:
        counts = _counts(int(config.max_share * len(order)), config.growth)
        for step, count in enumerate(counts):
            candidate = _candidate(model, order, count, defense_set, triggers)
            candidates.append(candidate)
            work = FORWARD_WORK * len(defense_set) * (1 + len(triggers))
            on_progress(
                Progress("prune", step + 1, len(counts), f"{count} filters", work=work)
            )
            if baseline.clean_accuracy - candidate.clean_accuracy > 3 * config.max_accuracy_drop:
                break
            if candidate.flip_rate <= config.target_flip_rate / 2:
                break
    chosen = _choose(candidates, config)
    filters = tuple(
        PrunedFilter(layer, index, value, 1 - place / len(order))
        for place, (layer, index, value) in enumerate(order[: chosen.count])
    )
    return PruneResult(
        model=prune_filters(model, group_by_layer((f.layer, f.index) for f in filters)),
        filters=filters,
        candidates=tuple(candidates),
        disarmed=bool(triggers) and chosen.flip_rate <= config.target_flip_rate,
    )


def group_by_layer(filters: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    """Layer name to filter indices, of pairs of both."""
    grouped: dict[str, list[int]] = {}
    for layer, index in filters:
        grouped.setdefault(layer, []).append(index)
    return grouped


def _counts(largest: int, growth: float) -> list[int]:
    counts: list[int] = []
    value = 1.0
    while int(value) <= largest:
        if not counts or int(value) != counts[-1]:
            counts.append(int(value))
        value *= growth
    return counts


def _candidate(
    model: SuspectModel,
    order: Sequence[tuple[str, int, float]],
    count: int,
    defense_set: DefenseSet,
    triggers: Sequence[RecoveredTrigger],
) -> PruneCandidate:
    chosen: Mapping[str, list[int]] = {}
    for layer, index, _ in order[:count]:
        chosen.setdefault(layer, []).append(index)  # type: ignore[attr-defined]
    pruned = fold_batch_norms(prune_filters(model, chosen), defense_set.images[:2])
    predicted = predict(pruned, defense_set.images)
    rates = [flip_rate(pruned, trigger, defense_set) for trigger in triggers]
    return PruneCandidate(
        count=count,
        mask_value=order[count - 1][2] if count else 0.0,
        clean_accuracy=float((predicted == defense_set.labels).float().mean()),
        flip_rate=max(rates) if rates else float("nan"),
    )


def _choose(candidates: Sequence[PruneCandidate], config: PruneConfig) -> PruneCandidate:
    """The smallest disarming candidate within the allowed drop, else the one that disarms most."""
    floor = candidates[0].clean_accuracy - config.max_accuracy_drop
    allowed = [c for c in candidates if c.count == 0 or c.clean_accuracy >= floor]
    for candidate in allowed:
        if candidate.flip_rate <= config.target_flip_rate:
            return candidate
    best = min(allowed, key=lambda c: (c.flip_rate if c.flip_rate == c.flip_rate else 1.0, c.count))
    useful = candidates[0].flip_rate - best.flip_rate > 0.1
    return best if useful else candidates[0]
