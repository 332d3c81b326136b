"""A run folder like that of a real scan, made without a scan."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnp_core import report as r
from rnp_core.pictures import image_png, mask_png, pattern_png, strip_png
from rnp_core.run_folder import write_run
from tests.helpers.reports import example_report

SIDE = 16
CLASSES = 6
TARGET = 2
NAMES = ["stop", "yield", "no entry", "turn left", "roundabout", "keep right"]
METHODS = ("integrated_gradients", "grad_cam", "occlusion")


def make_report(*, samples: int = 40, **changes: Any) -> r.ScanReport:
    """A backdoored model of six classes; every fourth suspect is flagged."""
    shares = np.linspace(1 / CLASSES, 0.9, 20)
    rest = (1 - shares) / (CLASSES - 1)
    curve = [[float(s if k == TARGET else o) for k in range(CLASSES)]
             for s, o in zip(shares, rest, strict=True)]
    rng = np.random.default_rng(0)
    masks = {f"layer{i}.bn": rng.uniform(0.4, 1, 12 + 4 * i).round(3).tolist() for i in range(1, 4)}
    masks["layer3.bn"][5] = 0.0
    label_rows = [
        r.LabelRow(k, NAMES[k], curve[-1][k], 3.0 if k == TARGET else 30.0 + k,
                   0.1 if k == TARGET else 1.0, 6.0 if k == TARGET else 0.3,
                   0.97 if k == TARGET else 0.02, 1.7 if k == TARGET else -0.4, "patch")
        for k in range(CLASSES)
    ]
    flips = [None if k == TARGET else 0.9 for k in range(CLASSES)]
    trigger = r.TriggerRow(
        TARGET, "patch", 3.0, 0.91, 0.01, "triggers/mask.png", "triggers/pattern.png",
        "triggers/preview.png", flips, [None if f is None else 0.01 for f in flips],
    )
    rows = [
        r.SampleRow(i, f"inbox/{i:04d}.png", TARGET if i % 4 == 0 else i % CLASSES, i % CLASSES,
                    0.9 - i / (4 * samples) if i % 4 == 0 else 0.01, i % 4 == 0, TARGET)
        for i in range(samples)
    ]
    attributions = [
        r.AttributionRow(index, method, TARGET, model, f"attributions/{index}-{method}-{model}.png")
        for index in (-1, 0) for method in METHODS for model in ("original", "repaired")
    ] if samples else []
    attributions.append(
        r.AttributionRow(-1, "filters:layer3.bn", TARGET, "original", "attributions/filters.png")
    )
    base = example_report()
    return dataclasses.replace(
        base,
        config={"preset": "standard", "suspicious_score": 0.5, "backdoored_score": 0.8,
                "max_sample_fpr": 0.01},
        model=dataclasses.replace(
            base.model, file_name="model.safetensors", sha256="ab" * 32, size_bytes=123_456,
            format="safetensors", num_classes=CLASSES, class_names=NAMES, architecture="resnet10",
            input_shape=[3, SIDE, SIDE],
        ),
        data=r.DataFacts(r.CleanFacts(120, "cd" * 32, [20] * CLASSES),
                         r.SuspectFacts(samples, "ef" * 32) if samples else None),
        backdoor_score=0.97,
        verdict_reason="Label 2 (no entry) behaves like the target of a backdoor.",
        findings=[r.Finding("critical", "target label", "Label 2 (no entry) is a target.", {})],
        suspected_target_labels=[TARGET],
        labels=label_rows,
        triggers=[trigger],
        pruned_filters=[r.FilterRow("layer3.bn", 5, 0.0, 1.0)],
        accuracy=r.AccuracyFacts(0.95, 0.94, [0.9, 0.98], [0.89, 0.97], 36, 0.91, 0.01),
        samples=rows,
        sample_threshold=0.3 if samples else None,
        sample_clean_scores=[0.0] * 95 + [0.2] * 4 + [0.95] if samples else [],
        attributions=attributions,
        stages=[
            r.StageRow(name, "done", 1.5) for name in ("load", "unlearn", "recover", "triggers")
        ],
        curves=r.Curves(
            [1 - 0.04 * i for i in range(20)], curve, [0.3, 0.6, 0.8], masks,
            [[0.0, 0.0, 0.95, 0.91], [1.0, 0.0, 0.94, 0.02], [2.0, 0.4, 0.8, 0.0]],
        ),
        files={"repaired_model": "repaired.safetensors",
               **({"suspect_thumbnails": "suspects.npz"} if samples else {})},
        **changes,
    )


def clean_report() -> r.ScanReport:
    """A model that shows nothing."""
    base = make_report(samples=0)
    return dataclasses.replace(
        base, verdict="no_evidence", backdoor_score=0.05, suspected_target_labels=[],
        verdict_reason="No evidence of a backdoor found by these checks.", findings=[],
        pruned_filters=[], attributions=[], triggers=[],
        labels=[dataclasses.replace(row, score=0.02, norm_ratio=1.0) for row in base.labels],
        accuracy=dataclasses.replace(base.accuracy, flip_rate_before=None, flip_rate_after=None),
    )


def failed_report() -> r.ScanReport:
    """A scan whose deciding stages failed."""
    base = make_report(samples=0)
    return dataclasses.replace(
        base, verdict="inconclusive", backdoor_score=0.0, suspected_target_labels=[],
        verdict_reason="Stage unlearn failed: the loss is NaN.", labels=[], triggers=[],
        findings=[r.Finding("medium", "verdict", "stage unlearn failed", {})],
        pruned_filters=[], attributions=[], curves=r.Curves(),
        stages=[r.StageRow("load", "done", 1.0), r.StageRow("unlearn", "failed", 0.5, "NaN"),
                r.StageRow("recover", "skipped", 0.0, "unlearning failed")],
        accuracy=dataclasses.replace(base.accuracy, flip_rate_before=None, flip_rate_after=None),
    )


def write_folder(folder: Path, report: r.ScanReport) -> Path:
    """The run folder of a report, with all the pictures that it names."""
    rng = np.random.default_rng(1)
    image = rng.uniform(0.2, 0.8, (3, SIDE, SIDE)).astype(np.float32)
    mask = np.zeros((1, SIDE, SIDE), np.float32)
    mask[:, -4:, -4:] = 1.0
    pattern = np.zeros_like(image)
    pattern[0, -4:, -4:] = 1.0
    triggered = (1 - mask) * image + mask * pattern
    pictures = {row.png: image_png(rng.uniform(0, 1, image.shape)) for row in report.attributions}
    for row in report.triggers:
        pictures[row.mask_png] = mask_png(mask)
        pictures[row.pattern_png] = pattern_png(mask, pattern)
        pictures[row.preview_png] = strip_png([image, triggered, image, pattern])
    count = min(2000, len(report.samples))
    thumbnails = {
        "index": np.arange(count),
        "x": rng.integers(0, 255, (count, SIDE, SIDE, 3), dtype=np.uint8),
    } if count else None
    write_run(folder, report, pictures=pictures, thumbnails=thumbnails,
              repaired_state={"fc.weight": torch.ones(2, 2)})
    return folder
