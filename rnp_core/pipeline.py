"""The whole method on one model, stage after stage, into one report."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rnp_core.acceleration import accelerate, unaccelerated
from rnp_core.arithmetic import full_float32, repeatable
from rnp_core.assembly import as_suspect_model, check_labels, check_shape
from rnp_core.config import ScanConfig
from rnp_core.data import DefenseSet, SuspectSet
from rnp_core.errors import DataError
from rnp_core.evidence_pictures import (
    DrawnMaps,
    draw_attributions,
    draw_filter_maps,
    first_meant,
)
from rnp_core.expected_work import expected_work
from rnp_core.inversion import RecoveredTrigger
from rnp_core.metrics import predict
from rnp_core.model import SuspectModel, device_of
from rnp_core.parts import LEAST_BATCH, fitting_batch
from rnp_core.progress import OnProgress, ignore_progress
from rnp_core.report import FilterRow, Finding, ScanReport, UniversalRow
from rnp_core.report_rows import (
    accuracy_facts,
    curves,
    data_facts,
    environment,
    label_row,
    model_facts,
    sample_rows,
    thumbnails,
    trigger_rows,
)
from rnp_core.scan_clock import ScanClock
from rnp_core.stage_findings import (
    failed_stage_findings,
    removal_findings,
    sample_findings,
    screening_findings,
    skipped_map_findings,
)
from rnp_core.stage_log import StageLog
from rnp_core.stage_store import open_stage_store
from rnp_core.stages.filter_mask import find_maskable_layers
from rnp_core.stages.margins import margins_of_all
from rnp_core.stages.prune import filter_order, group_by_layer
from rnp_core.stages.recover import RecoverResult, recover
from rnp_core.stages.removal import RemovalResult, remove_backdoor
from rnp_core.stages.samples import SampleScores, score_samples
from rnp_core.stages.target_label import (
    LabelEvidence,
    accusing_kind,
    best_trigger,
    by_suspicion,
    weigh_labels,
    weigh_universal,
)
from rnp_core.stages.triggers import TriggerSearch, recover_triggers
from rnp_core.stages.unlearn import (
    UnlearnResult,
    has_batch_norms,
    unlearn,
    with_clean_statistics,
)
from rnp_core.stages.verdict import Judgement, judge
from rnp_core.version import VERSION

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

_LEAST_RECOVERED = 12  # filters that are explained where none was pruned
_COMPARED = 64  # clean images on which a faster form of the network must give the same answers


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
    with scan_arithmetic(device_of(model), config):
        return _scan(model, defense_set, suspects, config, stages, on_progress)


@contextmanager
def scan_arithmetic(device: torch.device, config: ScanConfig) -> Iterator[None]:
    """Repeatable from the seed on, as networks may draw of their own, and in the precision that
    ``config`` promises."""
    exact = full_float32() if config.precision == "float32" else nullcontext()
    with repeatable(device, config.seed), exact:
        yield


def _scan(
    model: nn.Module,
    defense_set: DefenseSet,
    suspects: SuspectSet | None,
    config: ScanConfig,
    stages: Path | None,
    on_progress: OnProgress,
) -> ScanResult:
    suspect = as_suspect_model(model, defense_set, class_names=defense_set.class_names)
    if suspects is not None:
        check_shape(suspect, suspects.images, "suspect")
    suspect = accelerate_for_scan(suspect, defense_set, config)
    predicted = predict(suspect, defense_set.images)
    warning = check_labels(suspect, defense_set, predicted)
    findings = [Finding("high", "data", warning, rule="RNP003")] if warning else []
    config = with_fitting_batches(config, suspect)
    fit, held_out = split(defense_set, config.holdout_share, config.seed)
    clock = ScanClock(on_progress)
    on_progress = clock.report
    log = StageLog(
        open_stage_store(stages, suspect, defense_set, config) if stages else None, clock
    )
    expected = functools.partial(
        expected_work,
        config,
        classes=suspect.num_classes,
        images=len(defense_set),
        suspects=len(suspects) if suspects else 0,
        batch_norms=has_batch_norms(suspect),
    )
    clock.expect(expected())

    unlearned = log.run_batches(
        "unlearn",
        lambda size: unlearn(
            suspect,
            fit,
            config=dataclasses.replace(config.unlearn_stage, batch_size=size),
            on_progress=on_progress,
        ),
        config.unlearn_stage.batch_size,
    )
    recovered = _recover(log, suspect, unlearned, fit, config, on_progress)
    even = torch.full((suspect.num_classes,), 1 / suspect.num_classes)
    shares = unlearned.unlearned_shares if unlearned else even
    clock.expect(expected(share=float(shares.max())))
    batch_statistics = bool(unlearned and unlearned.used_batch_statistics and unlearned.collapsed)
    margins = log.run(
        "margins",
        lambda: margins_of_all(
            suspect,
            max_labels=config.max_labels,
            config=config.margin_stage,
            on_progress=on_progress,
        ),
    )
    search = log.run(
        "triggers",
        lambda: recover_triggers(
            suspect,
            fit,
            shares,
            margins=margins,
            used_batch_statistics=batch_statistics,
            config=config.invert_stage,
            max_labels=config.max_labels,
            weights=config.weights,
            on_progress=on_progress,
        ),
    )
    found = search.by_kind if search else {}
    labels = (
        log.run(
            "target label",
            lambda: weigh_labels(
                shares,
                found,
                margins=margins,
                sinusoid_leads=search.sinusoid_leads if search else None,
                used_batch_statistics=batch_statistics,
                weights=config.weights,
            ),
        )
        or ()
    )
    wandering = (
        weigh_universal(search.universal, found["patch"], weights=config.weights)
        if search and search.universal
        else None
    )
    names = [suspect.class_name(label) for label in range(suspect.num_classes)]
    right = predicted == defense_set.labels
    judgement = judge(
        labels,
        names,
        log.rows,
        clean_accuracy=float(right.float().mean()),
        collapsed=bool(unlearned and unlearned.collapsed),
        config=config,
        universal=wandering,
    )
    clock.expect(expected(accused=judgement.accuses))
    findings.extend(judgement.findings)
    suspected = judgement.suspected_target_labels

    removal = _remove(
        log, suspect, recovered, fit, judgement, labels, search, config, on_progress
    )
    repaired = removal.model if removal and removal.changed else None
    scores = _triage(
        log, suspect, repaired, unlearned, suspects, fit, held_out, judgement, config
    )

    pictures: dict[str, bytes] = {}
    strong = removal.strong if removal else ()
    shown = _shown_triggers(search, labels, judgement, strong, config) if search else []
    triggers = trigger_rows(shown, suspect, repaired, held_out, pictures)
    attributions = log.run(
        "attributions",
        lambda: _explain(
            suspect,
            repaired,
            held_out,
            suspects,
            scores,
            shown,
            suspected,
            _suspect_filters(removal, recovered),
            pictures,
            config,
            on_progress,
        ),
    )
    removing = next(row for row in log.rows if row.name == "removal")
    findings += removal_findings(judgement.accuses, removal, removing, triggers)
    findings += screening_findings(search, suspect.num_classes)
    findings += sample_findings(scores)
    findings += failed_stage_findings(log.rows)
    findings += skipped_map_findings(attributions.skipped if attributions else {})
    cleaned = unaccelerated(repaired or suspect)
    report = ScanReport(
        tool_version=VERSION,
        created_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        seed=config.seed,
        config=config.to_dict(),
        environment=environment(suspect),
        model=model_facts(suspect),
        data=data_facts(defense_set, suspects, suspect.num_classes),
        verdict=judgement.verdict,
        backdoor_score=judgement.backdoor_score,
        verdict_reason=judgement.reason,
        findings=findings,
        suspected_target_labels=list(suspected),
        labels=[label_row(row, names[row.label]) for row in labels],
        triggers=triggers,
        pruned_filters=[
            FilterRow(f.layer, f.index, f.mask_value, f.score)
            for f in (removal.pruned.filters if removal else ())
        ],
        accuracy=accuracy_facts(suspect, repaired, held_out, triggers),
        samples=sample_rows(suspects, scores),
        sample_threshold=scores.threshold if scores else None,
        sample_clean_scores=scores.clean_scores.tolist() if scores else [],
        universal=UniversalRow(wandering.norm_ratio, wandering.score) if wandering else None,
        attributions=attributions.rows if attributions else [],
        stages=log.rows,
        curves=curves(unlearned, recovered, removal),
        files={},
    )
    return ScanResult(report, cleaned, pictures, thumbnails(suspects, scores), tuple(shown))


def split(defense_set: DefenseSet, share: float, seed: int) -> tuple[DefenseSet, DefenseSet]:
    """Part the clean images into a fitting part and a held-out part of about ``share``, by class.

    Fractions of an image carry over to the next class, so that sets with one image a class are
    parted too.

    Raises:
        DataError: when one part would be empty.
    """
    generator = torch.Generator().manual_seed(seed)
    held: list[Tensor] = []
    fit: list[Tensor] = []
    due = 0.0
    for label in defense_set.labels.unique().tolist():
        members = torch.nonzero(defense_set.labels == label).flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        due += share * len(members)
        count = min(round(due), len(members))
        due -= count
        held.append(members[:count])
        fit.append(members[count:])
    parts = [torch.cat(part).sort().values for part in (fit, held)]
    if any(len(part) == 0 for part in parts):
        raise DataError(f"expected more clean images to hold some out, got {len(defense_set)}")
    return defense_set.subset(parts[0]), defense_set.subset(parts[1])


def accelerate_for_scan(
    model: SuspectModel, defense_set: DefenseSet, config: ScanConfig
) -> SuspectModel:
    """The model as a scan computes it; compared on images of all classes, which files list one
    after the other."""
    compared = min(fitting_batch(model, _COMPARED), len(defense_set))
    return accelerate(
        model,
        defense_set.images[torch.linspace(0, len(defense_set) - 1, compared).long()],
        mixed_precision=None if config.precision == "auto" else False,
    )


def with_fitting_batches(config: ScanConfig, model: SuspectModel) -> ScanConfig:
    """Smaller batches for unlearning and recovery where the images are large; whatever the memory,
    as they are part of the method."""

    def fitting(usual: int) -> int:
        return min(usual, max(LEAST_BATCH, fitting_batch(model, usual)))

    unlearning, recovering = config.unlearn_stage, config.recover_stage
    return dataclasses.replace(
        config,
        unlearn_stage=dataclasses.replace(unlearning, batch_size=fitting(unlearning.batch_size)),
        recover_stage=dataclasses.replace(recovering, batch_size=fitting(recovering.batch_size)),
    )


def _recover(
    log: StageLog,
    model: SuspectModel,
    unlearned: UnlearnResult | None,
    fit: DefenseSet,
    config: ScanConfig,
    on_progress: OnProgress,
) -> RecoverResult | None:
    if unlearned is None:
        log.skip("recover", "unlearning failed")
        return None
    return log.run_batches(
        "recover",
        lambda size: recover(
            unlearned.model,
            find_maskable_layers(model, fit.images[:2]),
            fit,
            config=dataclasses.replace(config.recover_stage, batch_size=size),
            on_progress=on_progress,
        ),
        config.recover_stage.batch_size,
    )


def _remove(
    log: StageLog,
    model: SuspectModel,
    recovered: RecoverResult | None,
    fit: DefenseSet,
    judgement: Judgement,
    labels: Sequence[LabelEvidence],
    search: TriggerSearch | None,
    config: ScanConfig,
    on_progress: OnProgress,
) -> RemovalResult | None:
    if not judgement.accuses:
        log.skip("removal", "no label is suspected, so nothing speaks for pruning")
        return None
    return log.run(
        "removal",
        lambda: remove_backdoor(
            model,
            recovered,
            fit,
            [labels[label] for label in judgement.suspected_target_labels],
            search.by_kind if search else {},
            universal=search.universal if search and judgement.target_depends_on_image else None,
            inverting=config.invert_stage,
            pruning=config.prune_stage,
            repairing=config.repair_stage if config.repair else None,
            min_flip_rate=config.weights.min_flip_rate,
            on_progress=on_progress,
        ),
    )


def _triage(
    log: StageLog,
    model: SuspectModel,
    repaired: SuspectModel | None,
    unlearned: UnlearnResult | None,
    suspects: SuspectSet | None,
    fit: DefenseSet,
    held_out: DefenseSet,
    judgement: Judgement,
    config: ScanConfig,
) -> SampleScores | None:
    if suspects is None:
        log.skip("samples", "no suspect images given")
        return None
    any_label = judgement.target_depends_on_image
    return log.run(
        "samples",
        lambda: score_samples(
            model,
            repaired,
            suspects,
            held_out,
            labels=() if any_label else judgement.suspected_target_labels,
            unlearned=with_clean_statistics(unlearned.model, fit.images) if unlearned else None,
            max_fpr=config.max_sample_fpr,
        ),
    )


def _shown_triggers(
    search: TriggerSearch,
    labels: Sequence[LabelEvidence],
    judgement: Judgement,
    strong: Sequence[RecoveredTrigger],
    config: ScanConfig,
) -> list[RecoveredTrigger]:
    """Triggers for the report, most suspicious label first: every kind for suspected labels, the
    kind that speaks loudest for the others, and that of the short first round for labels which got
    no more; first of a label is the one that its score rests on. One to any other class comes
    before all where it alone accuses the model, and last where labels do too. Those in ``strong``
    stand in for what they were made of.
    """
    found, shown, suspected = search.by_kind, [], judgement.suspected_target_labels
    for row in by_suspicion(labels):
        kinds = [k for k, triggers in found.items() if any(t.label == row.label for t in triggers)]
        loudest = accusing_kind(row, found)
        kinds.sort(key=lambda kind: kind != loudest)
        shown += [
            best_trigger(found[kind], row.label, min_flip_rate=config.weights.min_flip_rate)
            for kind in (kinds if row.label in suspected else kinds[:1])
        ]
        if not kinds:
            shown += [trigger for trigger in search.screened if trigger.label == row.label]
    if search.universal and judgement.target_depends_on_image:
        shown.insert(len(shown) if suspected else 0, search.universal)
    stand_ins = {(trigger.label, trigger.kind): trigger for trigger in strong}
    return [stand_ins.get((trigger.label, trigger.kind), trigger) for trigger in shown]


def _suspect_filters(
    removal: RemovalResult | None, recovered: RecoverResult | None
) -> dict[str, list[int]]:
    """By layer the pruned filters, or where none were, those that recovered least; none where
    there is nothing to remove."""
    if removal is None or recovered is None:
        return {}
    if removal.pruned.filters:
        return group_by_layer((row.layer, row.index) for row in removal.pruned.filters)
    least = filter_order(recovered)[:_LEAST_RECOVERED]
    return group_by_layer((layer, index) for layer, index, _ in least)


def _explain(
    model: SuspectModel,
    repaired: SuspectModel | None,
    held_out: DefenseSet,
    suspects: SuspectSet | None,
    scores: SampleScores | None,
    triggers: Sequence[RecoveredTrigger],
    suspected: Sequence[int],
    filters: Mapping[str, list[int]],
    pictures: dict[str, bytes],
    config: ScanConfig,
    on_progress: OnProgress,
) -> DrawnMaps:
    """Attributions for a triggered clean image and the most suspicious flagged samples, and for the
    first of them what drives ``filters``, by layer."""
    items: list[tuple[int, Tensor, int]] = []
    if suspected and triggers:
        trigger = triggers[0]
        image = trigger.apply(first_meant(held_out, trigger))[0]
        items.append((-1, image, trigger.label))
    if suspects is not None and scores is not None:
        order = scores.suspicion_score.argsort(descending=True, stable=True).tolist()
        flagged = [i for i in order if scores.flagged[i]][: config.attributed_samples]
        predicted = scores.predicted.tolist()
        targets = [c if c in suspected or not suspected else suspected[0] for c in predicted]
        items += [(i, suspects.images[i], targets[i]) for i in flagged]
    if not items:
        return DrawnMaps([], {})
    drawn = draw_attributions(
        [("original", model), *([("repaired", repaired)] if repaired else [])],
        items,
        pictures,
        seed=config.seed,
        on_progress=on_progress,
    )
    if filters:
        index, image, target = items[0]
        driven = draw_filter_maps(model, image, index, target, filters, pictures, seed=config.seed)
        drawn = DrawnMaps(drawn.rows + driven.rows, drawn.skipped | driven.skipped)
    return drawn
