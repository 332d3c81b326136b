"""The whole method on one model, stage after stage, into one report."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rnp_core.acceleration import unaccelerated
from rnp_core.arithmetic import scan_arithmetic
from rnp_core.config import ScanConfig
from rnp_core.data import DefenseSet, SuspectSet
from rnp_core.evidence_pictures import DrawnMaps
from rnp_core.expected_work import expected_work
from rnp_core.explanation import explain, shown_triggers
from rnp_core.inversion import RecoveredTrigger
from rnp_core.model import SuspectModel, device_of
from rnp_core.preparation import ScanInputs, prepare
from rnp_core.progress import OnProgress, ignore_progress
from rnp_core.report import ScanReport
from rnp_core.report_assembly import assemble_report
from rnp_core.report_rows import thumbnails, trigger_rows
from rnp_core.scan_clock import ScanClock
from rnp_core.stage_log import StageLog
from rnp_core.stage_results import StageResults
from rnp_core.stage_store import open_stage_store
from rnp_core.stages.filter_mask import find_maskable_layers
from rnp_core.stages.margins import margins_of_all
from rnp_core.stages.recover import RecoverResult, recover
from rnp_core.stages.removal import RemovalResult, remove_backdoor
from rnp_core.stages.samples import SampleScores, score_samples
from rnp_core.stages.target_label import LabelEvidence, weigh_labels, weigh_universal
from rnp_core.stages.triggers import TriggerSearch, recover_triggers
from rnp_core.stages.unlearn import (
    UnlearnResult,
    has_batch_norms,
    unlearn,
    with_clean_statistics,
)
from rnp_core.stages.verdict import Judgement, judge

STAGES = (
    "unlearn",
    "recover",
    "margins",
    "triggers",
    "target label",
    "removal",
    "samples",
    "attributions",
)
"""Stages of a scan in running order."""


@dataclass(frozen=True, eq=False)
class ScanResult:
    """What a scan gives back.

    Attributes:
        report: the plain report.
        repaired: the repaired model; the original's copy when nothing was removed.
        pictures: path relative to the report to PNG bytes.
        thumbnails: small pictures of the most suspicious images; see
            :func:`rnp_core.report_rows.thumbnails`. None without suspects.
        triggers: the triggers of the report, in its order.
    """

    report: ScanReport
    repaired: SuspectModel
    pictures: dict[str, bytes]
    thumbnails: dict[str, np.ndarray] | None
    triggers: tuple[RecoveredTrigger, ...] = ()


def scan(
    model: nn.Module,
    defense_set: DefenseSet,
    *,
    suspects: SuspectSet | None = None,
    config: ScanConfig = ScanConfig(),
    stages: Path | None = None,
    on_progress: OnProgress = ignore_progress,
) -> ScanResult:
    """Scan a classifier for a backdoor with clean images only.

    The model is not changed. The same inputs, config and machine give the same report, times and
    dates aside; on a GPU up to the last digits, as the way back through ``grid_sample`` and bicubic
    resizing adds up in no fixed order there.

    Args:
        model: a :class:`SuspectModel`, or any module that takes images in [0, 1].
        defense_set: a few hundred clean images of all classes.
        suspects: images to triage.
        stages: folder that keeps results of finished stages; a scan of the same inputs that was
            interrupted goes on from there.
        on_progress: called between steps; may raise :class:`ScanCancelled`.

    Raises:
        DataError: when the images do not suit the model.
        ModelError: when the model cannot run on them.
        ScanCancelled: when the callback raises it.
    """
    with scan_arithmetic(device_of(model), precision=config.precision, seed=config.seed):
        return _scan(model, defense_set, suspects, config, stages, on_progress)


def _scan(
    model: nn.Module,
    defense_set: DefenseSet,
    suspects: SuspectSet | None,
    config: ScanConfig,
    stages: Path | None,
    on_progress: OnProgress,
) -> ScanResult:
    inputs = prepare(model, defense_set, suspects, config)
    store = None
    if stages:
        store = open_stage_store(stages, inputs.model, inputs.clean, inputs.config)
    log = StageLog(store, ScanClock(on_progress))
    results = _run_stages(inputs, log)
    shown = shown_triggers(results, min_flip_rate=inputs.config.weights.min_flip_rate)
    triggers, pictures = trigger_rows(shown, inputs.model, results.repaired, inputs.held_out)
    maps = (
        log.run("attributions", lambda: explain(inputs, results, shown, log.clock.report))
        or DrawnMaps()
    )
    report = assemble_report(inputs, results, triggers=triggers, maps=maps, stages=log.rows)
    return ScanResult(
        report,
        unaccelerated(results.repaired or inputs.model),
        pictures | maps.pictures,
        thumbnails(inputs.suspects, results.scores),
        tuple(shown),
    )


def _run_stages(inputs: ScanInputs, log: StageLog) -> StageResults:
    """All stages up to the triage, each with what those before it found."""
    model, config = inputs.model, inputs.config
    expected = functools.partial(
        expected_work,
        config,
        classes=model.num_classes,
        images=len(inputs.clean),
        suspects=len(inputs.suspects) if inputs.suspects else 0,
        batch_norms=has_batch_norms(model),
    )
    log.clock.expect(expected())
    unlearned = _unlearn(inputs, log)
    recovered = _recover(inputs, unlearned, log)
    even = torch.full((model.num_classes,), 1 / model.num_classes)
    shares = unlearned.unlearned_shares if unlearned else even
    log.clock.expect(expected(share=float(shares.max())))
    collapsed = bool(unlearned and unlearned.collapsed)
    batch_statistics = bool(unlearned and unlearned.used_batch_statistics and collapsed)
    margins = log.run(
        "margins",
        lambda: margins_of_all(
            model,
            max_labels=config.max_labels,
            config=config.margin_stage,
            on_progress=log.clock.report,
        ),
    )
    search = log.run(
        "triggers",
        lambda: recover_triggers(
            model,
            inputs.fit,
            shares,
            margins=margins,
            used_batch_statistics=batch_statistics,
            config=config.invert_stage,
            max_labels=config.max_labels,
            weights=config.weights,
            on_progress=log.clock.report,
        ),
    )
    labels = (
        log.run(
            "target label",
            lambda: weigh_labels(
                shares,
                search.by_kind if search else {},
                margins=margins,
                sinusoid_leads=search.sinusoid_leads if search else None,
                used_batch_statistics=batch_statistics,
                weights=config.weights,
            ),
        )
        or ()
    )
    universal = (
        weigh_universal(search.universal, search.by_kind["patch"], weights=config.weights)
        if search and search.universal
        else None
    )
    judgement = judge(
        labels,
        inputs.class_names,
        log.rows,
        clean_accuracy=inputs.clean_accuracy,
        collapsed=collapsed,
        config=config,
        universal=universal,
    )
    log.clock.expect(expected(accused=judgement.accuses))
    removal = _remove(inputs, recovered, search, labels, judgement, log)
    repaired = removal.repaired if removal else None
    return StageResults(
        unlearned=unlearned,
        recovered=recovered,
        search=search,
        labels=labels,
        universal=universal,
        judgement=judgement,
        removal=removal,
        scores=_triage(inputs, unlearned, repaired, judgement, log),
    )


def _unlearn(inputs: ScanInputs, log: StageLog) -> UnlearnResult | None:
    stage = inputs.config.unlearn_stage
    return log.run_batches(
        "unlearn",
        lambda size: unlearn(
            inputs.model,
            inputs.fit,
            config=dataclasses.replace(stage, batch_size=size),
            on_progress=log.clock.report,
        ),
        stage.batch_size,
    )


def _recover(
    inputs: ScanInputs,
    unlearned: UnlearnResult | None,
    log: StageLog,
) -> RecoverResult | None:
    if unlearned is None:
        log.skip("recover", "unlearning failed")
        return None
    stage = inputs.config.recover_stage
    return log.run_batches(
        "recover",
        lambda size: recover(
            unlearned.model,
            find_maskable_layers(inputs.model, inputs.fit.images[:2]),
            inputs.fit,
            config=dataclasses.replace(stage, batch_size=size),
            on_progress=log.clock.report,
        ),
        stage.batch_size,
    )


def _remove(
    inputs: ScanInputs,
    recovered: RecoverResult | None,
    search: TriggerSearch | None,
    labels: tuple[LabelEvidence, ...],
    judgement: Judgement,
    log: StageLog,
) -> RemovalResult | None:
    if not judgement.accuses:
        log.skip("removal", "no label is suspected, so nothing speaks for pruning")
        return None
    config = inputs.config
    return log.run(
        "removal",
        lambda: remove_backdoor(
            inputs.model,
            recovered,
            inputs.fit,
            [labels[label] for label in judgement.suspected_target_labels],
            search.by_kind if search else {},
            universal=search.universal if search and judgement.target_depends_on_image else None,
            inverting=config.invert_stage,
            pruning=config.prune_stage,
            repairing=config.repair_stage if config.repair else None,
            min_flip_rate=config.weights.min_flip_rate,
            on_progress=log.clock.report,
        ),
    )


def _triage(
    inputs: ScanInputs,
    unlearned: UnlearnResult | None,
    repaired: SuspectModel | None,
    judgement: Judgement,
    log: StageLog,
) -> SampleScores | None:
    suspects = inputs.suspects
    if suspects is None:
        log.skip("samples", "no suspect images given")
        return None
    any_label = judgement.target_depends_on_image
    return log.run(
        "samples",
        lambda: score_samples(
            inputs.model,
            repaired,
            suspects,
            inputs.held_out,
            labels=() if any_label else judgement.suspected_target_labels,
            unlearned=with_clean_statistics(unlearned.model, inputs.fit.images)
            if unlearned
            else None,
            max_fpr=inputs.config.max_sample_fpr,
        ),
    )
