"""From stage results to the rows of the report."""

from __future__ import annotations

import platform
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rnp_core.data import DefenseSet, SuspectSet
from rnp_core.evidence_pictures import draw_trigger
from rnp_core.fold import fold_batch_norms
from rnp_core.images import class_counts, content_sha256
from rnp_core.inversion import RecoveredTrigger, flips
from rnp_core.metrics import predict, wilson_interval
from rnp_core.model import SuspectModel
from rnp_core.report import (
    AccuracyFacts,
    CleanFacts,
    Curves,
    DataFacts,
    LabelRow,
    ModelFacts,
    NormalizationFacts,
    SampleRow,
    SuspectFacts,
    TriggerRow,
)
from rnp_core.stages.recover import RecoverResult
from rnp_core.stages.removal import RemovalResult
from rnp_core.stages.samples import SampleScores
from rnp_core.stages.target_label import LabelEvidence
from rnp_core.stages.unlearn import UnlearnResult

MAX_THUMBNAILS = 2000
"""Suspects of which a small picture is kept, the most suspicious first."""

THUMBNAIL_SIDE = 64
"""Longest side of such a picture, in pixels."""


def environment(model: SuspectModel) -> dict[str, object]:
    """What the scan of ``model`` ran on, for the report."""
    device = model.device.type
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(model.device) if device == "cuda" else device,
        "threads": torch.get_num_threads(),
        "precision": "bfloat16" if model.mixed_precision else "float32",
        "platform": platform.platform(),
    }


def model_facts(model: SuspectModel) -> ModelFacts:
    """What was scanned, as far as the model itself tells."""
    return ModelFacts(
        path=None,
        file_name=None,
        sha256=None,
        size_bytes=None,
        format=None,
        architecture=type(model.network).__name__,
        num_classes=model.num_classes,
        class_names=list(model.class_names),
        input_shape=list(model.input_shape),
        normalization=NormalizationFacts(
            list(model.normalization.mean),
            list(model.normalization.std),
            model.normalization.source,
        ),
    )


def data_facts(clean: DefenseSet, suspects: SuspectSet | None, classes: int) -> DataFacts:
    """Counts and hashes of the images."""
    return DataFacts(
        clean=CleanFacts(
            count=len(clean),
            sha256=content_sha256(clean.images, clean.labels),
            per_class=list(class_counts(clean.labels, classes)),
        ),
        suspects=SuspectFacts(len(suspects), content_sha256(suspects.images, None))
        if suspects
        else None,
    )


def label_row(row: LabelEvidence, name: str) -> LabelRow:
    """Evidence of one label, with its name."""
    return LabelRow(
        label=row.label,
        name=name,
        unlearned_share=row.unlearned_share,
        trigger_norm=row.trigger_norm,
        norm_ratio=row.norm_ratio,
        anomaly_index=row.anomaly_index,
        score=row.score,
        size_outlier=row.size_outlier,
        kind=row.kind,
        margin_ratio=row.margin_ratio,
        margin_outlier=row.margin_outlier,
        agreement=row.agreement,
        sinusoid_lead=row.sinusoid_lead,
        sources=list(row.sources),
    )


def trigger_rows(
    triggers: Sequence[RecoveredTrigger],
    model: SuspectModel,
    repaired: SuspectModel | None,
    held_out: DefenseSet,
) -> tuple[list[TriggerRow], dict[str, bytes]]:
    """Rows of the triggers, and path to PNG bytes of their pictures.

    Args:
        triggers: at most one for each label and kind.
        repaired: None when nothing was removed, so that the flip rates stay.
    """
    model = fold_batch_norms(model, held_out.images[:2])
    if repaired is not None:
        repaired = fold_batch_norms(repaired, held_out.images[:2])
    rows: list[TriggerRow] = []
    pictures: dict[str, bytes] = {}
    for trigger in triggers:
        paths, drawn = draw_trigger(trigger, held_out)
        pictures |= drawn
        before, labels = flips(model, trigger, held_out)
        after, labels_after = (
            flips(repaired, trigger, held_out) if repaired else (before, labels)
        )
        rows.append(
            TriggerRow(
                label=trigger.label,
                kind=trigger.kind,
                norm=trigger.size,
                flip_rate=_share(before),
                flip_rate_repaired=_share(after),
                mask_png=paths.mask_png,
                pattern_png=paths.pattern_png,
                preview_png=paths.preview_png,
                flip_rate_per_class=_per_class(before, labels, model.num_classes),
                flip_rate_per_class_repaired=_per_class(after, labels_after, model.num_classes),
                field_png=paths.field_png,
                sources=list(trigger.sources),
            )
        )
    return rows, pictures


def _share(hits: Tensor) -> float:
    return float(hits.float().mean()) if len(hits) else 0.0


def _per_class(hits: Tensor, labels: Tensor, classes: int) -> list[float | None]:
    """Share of ``hits`` in every class, None where there is no image."""
    parts = [hits[labels == label] for label in range(classes)]
    return [_share(part) if len(part) else None for part in parts]


def accuracy_facts(
    model: SuspectModel,
    repaired: SuspectModel | None,
    held_out: DefenseSet,
    triggers: Sequence[TriggerRow],
) -> AccuracyFacts:
    """Accuracy and flip rate before and after; the same where nothing was repaired."""
    count = len(held_out)
    before = int((predict(model, held_out.images) == held_out.labels).sum())
    after = before
    if repaired is not None:
        after = int((predict(repaired, held_out.images) == held_out.labels).sum())
    return AccuracyFacts(
        clean_before=before / count,
        clean_after=after / count,
        interval_before=list(wilson_interval(before, count)),
        interval_after=list(wilson_interval(after, count)),
        count=count,
        flip_rate_before=triggers[0].flip_rate if triggers else None,
        flip_rate_after=triggers[0].flip_rate_repaired if triggers else None,
    )


def sample_rows(suspects: SuspectSet | None, scores: SampleScores | None) -> list[SampleRow]:
    """One row per suspect, in input order."""
    if suspects is None or scores is None:
        return []
    repaired = _asked(scores.predicted_repaired)
    unlearned: list[int | None] = [None] * len(suspects.ids)
    if scores.predicted_unlearned is not None:
        unlearned = _asked(scores.predicted_unlearned)
    return [
        SampleRow(
            index=index,
            id=name,
            predicted=int(scores.predicted[index]),
            predicted_unlearned=unlearned[index],
            predicted_repaired=repaired[index],
            suspicion_score=float(scores.suspicion_score[index]),
            flagged=bool(scores.flagged[index]),
        )
        for index, name in enumerate(suspects.ids)
    ]


def _asked(predicted: Tensor) -> list[int | None]:
    """Classes, None for images that a model was not asked about."""
    return [None if label < 0 else label for label in predicted.tolist()]


def thumbnails(
    suspects: SuspectSet | None, scores: SampleScores | None
) -> dict[str, np.ndarray] | None:
    """Small pictures of the most suspicious images.

    Returns:
        ``index`` ``(M,)`` int64, ascending, and ``x`` ``(M, h, w, C)`` uint8; None without scores.
    """
    if suspects is None or scores is None:
        return None
    order = scores.suspicion_score.argsort(descending=True, stable=True)
    index = order[:MAX_THUMBNAILS].sort().values
    images = suspects.images[index]
    height, width = images.shape[-2:]
    scale = THUMBNAIL_SIDE / max(height, width)
    if scale < 1:
        size = (max(1, round(scale * height)), max(1, round(scale * width)))
        images = F.interpolate(images, size=size, mode="area")
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return {"index": index.numpy(), "x": pixels.numpy()}


def curves(
    unlearned: UnlearnResult | None,
    recovered: RecoverResult | None,
    removal: RemovalResult | None,
) -> Curves:
    """What the charts draw."""
    return Curves(
        unlearn_accuracy=unlearned.accuracy.tolist() if unlearned else [],
        unlearn_shares=unlearned.shares.tolist() if unlearned else [],
        recover_accuracy=recovered.accuracy.tolist() if recovered else [],
        filter_masks={name: values.tolist() for name, values in recovered.filter_mask.items()}
        if recovered
        else {},
        prune_candidates=[
            [float(c.count), c.mask_value, c.clean_accuracy, c.flip_rate]
            for c in (removal.pruned.candidates if removal else ())
        ],
    )
