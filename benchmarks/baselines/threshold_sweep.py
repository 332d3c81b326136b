"""The sweep of pruning thresholds that RNP and ANP publish, and a rule that needs no trigger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.baselines.batch_norm import ChannelMask, count_channels, prune_channels
from benchmarks.baselines.contract import Defence
from rnp_core.metrics import clean_accuracy

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(19))
"""0 to 0.9, as ``--pruning-max 0.9 --pruning-step 0.05`` in both repositories."""

NOTHING = -1.0
"""Threshold at which no channel is pruned."""


class Candidate(NamedTuple):
    """What pruning at one threshold does; the last two are None without a true trigger."""

    threshold: float
    filters: int
    accuracy: float  # on the clean images of the defence
    test_accuracy: float | None
    attack_success_rate: float | None


def sweep_thresholds(defence: Defence, mask: ChannelMask) -> list[Candidate]:
    """Every threshold, after a first entry for the model as it came."""
    found: list[Candidate] = []
    for threshold in (NOTHING, *THRESHOLDS):
        filters = count_channels(mask, threshold)
        if found and filters == found[-1].filters:
            found.append(found[-1]._replace(threshold=threshold))
            continue
        pruned = prune_channels(defence.model, mask, threshold)
        accuracy = clean_accuracy(pruned, defence.clean)
        measured = defence.oracle(pruned) if defence.oracle else (None, None)
        found.append(Candidate(threshold, filters, accuracy, *measured))
    return found


def threshold_by_drop(sweep: Sequence[Candidate], max_drop: float) -> float:
    """The last threshold before the accuracy on the clean images has fallen by more."""
    chosen = sweep[0]
    for candidate in sweep[1:]:
        if sweep[0].accuracy - candidate.accuracy > max_drop + 1e-9:
            break
        chosen = candidate
    return chosen.threshold
