"""Run one method on one subject and measure what comes out with the truth."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.baselines.contract import Defence, Measured, NotApplicable, Outcome
from benchmarks.images import write_npz
from benchmarks.methods import Method
from benchmarks.reactivation import (
    POISONED,
    hold_back,
    reactivate,
    with_new_trigger,
)
from benchmarks.rows import Row
from benchmarks.subjects import BenchmarkSubject
from benchmarks.truth import GroundTruth, mask_overlap, patch_mask, read_truth
from rnp_core.acceleration import in_fast_layout
from rnp_core.images import read_defense_set
from rnp_core.inversion import KINDS
from rnp_core.inversion.kinds import PatchKind
from rnp_core.metrics import auroc, predict, tpr_at_fpr
from rnp_core.model import SuspectModel
from rnp_core.subject import load_subject

FLIPPABLE = ("cifar", "imagenet", "imagenette")
"""Starts of the names of data sets whose classes survive a mirror; signs and digits do not."""


_CPU = torch.device("cpu")


@dataclass(frozen=True)
class TaskLimits:
    """How many images a measurement takes at most."""

    test_images: int = 2400  # read
    samples: int = 1000  # clean suspects, and as many triggered ones
    measured: int = 1200  # clean images, and triggered ones, for accuracy and attack success
    oracle: int = 400  # the same for methods that look at the true trigger


@dataclass(frozen=True, eq=False)
class Prepared:
    """Inputs of the methods, and the truth that measures them.

    Attributes:
        defence: what a method gets.
        truth: what only the measurement gets.
        is_triggered: ``(N,)`` bool of the suspects; None without suspects.
        limits: how many images a measurement takes.
    """

    defence: Defence
    truth: GroundTruth
    is_triggered: Tensor | None
    limits: TaskLimits

    def measure(self, model: SuspectModel) -> Measured:
        """Clean accuracy, and the success of the true trigger; NaN without one."""
        return self.truth.measure(model, max_images=self.limits.measured)


def prepare(
    subject: BenchmarkSubject,
    *,
    clean_count: int,
    seed: int,
    limits: TaskLimits = TaskLimits(),
    device: torch.device = _CPU,
) -> Prepared:
    """Read a subject as ``rnp scan`` does with ``clean_count`` clean images, balanced by class.

    Raises:
        RnpError: when its files cannot be used.
    """
    drawn = read_defense_set(subject.clean, max_images=clean_count, seed=seed).images
    with tempfile.TemporaryDirectory() as folder:
        path = write_npz(Path(folder) / "clean.npz", drawn.images, drawn.labels)
        loaded = load_subject(subject.checkpoint, path, seed=seed)
    model = in_fast_layout(loaded.model.to(device))
    truth = read_truth(subject, model, max_images=limits.test_images, seed=seed)
    suspects, is_triggered = draw_suspects(truth, limits.samples)
    defence = Defence(
        model=model,
        clean=loaded.clean.images,
        suspects=suspects,
        flips=str(subject.card.get("dataset", "")).startswith(FLIPPABLE),
        seed=seed,
        oracle=(lambda m: truth.measure(m, max_images=limits.oracle))
        if truth.triggered
        else None,
    )
    return Prepared(defence, truth, is_triggered, limits)


def draw_suspects(truth: GroundTruth, count: int) -> tuple[Tensor | None, Tensor | None]:
    """At most ``count`` clean and ``count`` triggered test images, made from different ones.

    Images on which the trigger fails are among them. The triggers of several targets take turns.

    Returns:
        Images ``(N, C, H, W)`` and ``(N,)`` bool; None without an attack.
    """
    if not truth.triggered:
        return None, None
    clean = truth.clean.images[: min(count, len(truth.clean) // 2)]
    turns = len(truth.triggered)
    triggered = []
    for turn, part in enumerate(truth.triggered):
        rows = torch.nonzero(part.indices >= len(clean)).flatten()[turn::turns]
        triggered.append(part.images[rows[: -(-count // turns)]])
    suspects = torch.cat([clean, *triggered])
    return suspects, torch.arange(len(suspects)) >= len(clean)


def run_method(
    method: Method, subject: BenchmarkSubject, prepared: Prepared, blank: Row
) -> list[Row]:
    """The rows of one method; a method that has no meaning here gives rows that say so.

    Args:
        blank: the row with everything that is known before; its method is replaced.
    """
    start = time.perf_counter()
    try:
        outcomes: Mapping[str, Outcome] = method.run(prepared.defence)
    except NotApplicable as error:
        return [_not_applicable(blank, name, str(error)) for name in method.rows]
    seconds, peak = time.perf_counter() - start, peak_memory()
    before = prepared.measure(prepared.defence.model)
    rows = []
    for name in method.rows:
        if name not in outcomes:
            rows.append(_not_applicable(blank, name, "it needs a true trigger, there is none"))
            continue
        values = measure_outcome(outcomes[name], subject, prepared, before)
        rows.append(
            dataclasses.replace(
                blank, method=name, seconds=round(seconds, 2), peak_mib=peak, **values
            )
        )
    return rows


def _not_applicable(blank: Row, method: str, reason: str) -> Row:
    return dataclasses.replace(blank, method=method, status="not applicable", error=reason)


def measure_outcome(
    outcome: Outcome,
    subject: BenchmarkSubject,
    prepared: Prepared,
    before: Measured,
) -> dict[str, Any]:
    """The measured fields of a row."""
    after = prepared.measure(outcome.repaired) if outcome.repaired else None
    woken, woken_by_one = (
        _reactivated(outcome.repaired, prepared, count) if outcome.repaired else None
        for count in POISONED
    )
    test_images, triggered_images = prepared.truth.sizes(prepared.limits.measured)
    return {
        "verdict": outcome.verdict,
        "score": outcome.score,
        "labels": None if outcome.labels is None else list(outcome.labels),
        "accuracy_before": before.clean_accuracy,
        "accuracy_after": after.clean_accuracy if after else None,
        "test_images": test_images,
        "asr_before": before.attack_success_rate,
        "asr_after": after.attack_success_rate if after else None,
        "asr_reactivated": woken,
        "asr_reactivated_by_one": woken_by_one,
        "triggered_images": triggered_images,
        "pruned_filters": outcome.pruned_filters,
        "notes": dict(outcome.notes),
        **_label_values(outcome, subject),
        **_trigger_values(outcome, prepared),
        **_sample_values(outcome, prepared),
    }


def _reactivated(model: SuspectModel, prepared: Prepared, poisoned: int) -> float | None:
    """Success of the true trigger after an attempt to bring the backdoor back with so many images;
    for a model without one, of a new trigger after the same."""
    defence, truth = prepared.defence, prepared.truth
    if not truth.triggered:
        truth = with_new_trigger(truth)
    images, wanted, rest = hold_back(truth, max(poisoned, len(truth.triggered)))
    woken = reactivate(model, defence.clean, images, wanted, seed=defence.seed)
    return rest.measure(woken, max_images=prepared.limits.measured).attack_success_rate


def _label_values(outcome: Outcome, subject: BenchmarkSubject) -> dict[str, Any]:
    if outcome.labels is None or not subject.targets:
        return {}
    return {
        "first_label_right": bool(outcome.labels) and outcome.labels[0] in subject.targets,
        "targets_found": set(subject.targets) <= set(outcome.labels),
    }


def _trigger_values(outcome: Outcome, prepared: Prepared) -> dict[str, Any]:
    """How well the trigger recovered for each true target works, and where it lies."""
    parts = [part for part in prepared.truth.triggered if part.target is not None]
    if outcome.triggers is None or not parts:
        return {}
    flips, overlaps = [], []
    for part in parts:
        assert part.target is not None
        trigger = outcome.triggers.get(part.target)
        true_mask = patch_mask(prepared.truth, part)
        if true_mask is not None:
            patch = trigger if trigger and isinstance(KINDS[trigger.kind], PatchKind) else None
            overlaps.append(mask_overlap(patch, true_mask) if patch else 0.0)
        if trigger is None:
            flips.append(0.0)
            continue
        triggered = trigger.apply(prepared.truth.clean.images[part.indices])
        hits = predict(prepared.defence.model, triggered) == part.target
        flips.append(float(hits.float().mean()))
    return {
        "trigger_flip_rate": float(np.mean(flips)),
        "trigger_overlap": float(np.mean(overlaps)) if overlaps else None,
    }


def _sample_values(outcome: Outcome, prepared: Prepared) -> dict[str, Any]:
    if outcome.sample_scores is None or prepared.is_triggered is None:
        return {}
    scores, truth = outcome.sample_scores.numpy(), prepared.is_triggered.numpy()
    values: dict[str, Any] = {
        "sample_auroc": auroc(scores, truth),
        "sample_tpr": tpr_at_fpr(scores, truth, max_fpr=0.01),
        "suspects": [int((~truth).sum()), int(truth.sum())],
    }
    if outcome.sample_flags is not None:
        flags = outcome.sample_flags.numpy()
        values["flagged_triggered"] = float(flags[truth].mean())
        values["flagged_clean"] = float(flags[~truth].mean())
    return values


def peak_memory() -> float | None:
    """Largest resident memory of this process so far, in MiB; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)
