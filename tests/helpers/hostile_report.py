"""Run folders whose every name was chosen by somebody who means harm, and of every size."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rnp_core import report as r
from rnp_core.run_folder import write_run
from tests.helpers.reports import example_report

HOSTILE_NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "\u202egnp.exe\u202c right to left",
    "شارة قف",
    "two\nlines\r\nand a\ttab \x00 \x1b[31m",
    "../../../../etc/passwd",
    "C:\\Windows\\system32",
    "long " * 4000,
    "`code` [link](javascript:alert(3)) | cell | **bold**",
    "{{ 7 * 7 }} {% raw %} ${x} </style></title><svg onload=alert(4)>",
    "\ud800 lone surrogate",
)


HOSTILE_SOURCES = [0, 1, -1, -7, 10**12, *range(50_000)]
"""Classes that a trigger is said to be for; few of them exist."""


def picture(side: int = 8) -> bytes:
    """A small PNG."""
    stream = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), 90, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write_example(folder: Path, report: r.ScanReport | None = None) -> Path:
    """A run folder of ``report``, with a picture at every path that it names."""
    report = report or example_report()
    names = [
        name
        for row in report.triggers
        for name in (row.mask_png, row.pattern_png, row.preview_png, row.field_png)
        if name
    ]
    names += [row.png for row in report.attributions]
    thumbnails = None
    if report.samples:
        rng = np.random.default_rng(0)
        count = min(2000, len(report.samples))
        pixels = rng.integers(0, 255, (count, 32, 32, 3), dtype=np.uint8)
        thumbnails = {"index": np.arange(count), "x": pixels}
        files = {**report.files, "suspect_thumbnails": "suspects.npz"}
        report = dataclasses.replace(report, files=files)
    write_run(
        folder,
        report,
        pictures={name: picture() for name in names},
        repaired_state={"fc.weight": torch.ones(2, 2)},
        thumbnails=thumbnails,
    )
    return folder


def with_suspects(count: int, report: r.ScanReport | None = None) -> r.ScanReport:
    """A report with ``count`` suspects, every third one flagged."""
    rows = [
        r.SampleRow(i, f"{i}.png", 1, 0, (i % 3 == 0) * 0.5 + i / (4 * count), i % 3 == 0)
        for i in range(count)
    ]
    report = report or example_report()
    facts = r.SuspectFacts(count, "00") if count else None
    return dataclasses.replace(
        report,
        samples=rows,
        data=dataclasses.replace(report.data, suspects=facts),
        attributions=report.attributions if count else [],
    )


def hostile_report() -> r.ScanReport:
    """Every text that a file or a folder of images can choose is hostile."""
    report = example_report()
    names = list(HOSTILE_NAMES)
    bad = " ".join(names)
    return dataclasses.replace(
        with_suspects(len(names), report),
        model=dataclasses.replace(
            report.model,
            path="/".join(names[:3]),
            file_name=names[0] + names[2],
            format=names[4],
            architecture=names[1],
            num_classes=len(names),
            class_names=names,
            findings=[{"rule": names[0], "message": bad}],
        ),
        environment={**report.environment, names[0]: bad},
        config={**report.config, names[1]: {names[3]: bad}},
        verdict_reason=bad,
        findings=[
            r.Finding("critical", names[0], name, {name: name, "atlas": [name]}, rule)
            for name, rule in zip(names, ["RNP001", "RNP101", *names], strict=False)
        ],
        suspected_target_labels=list(range(len(names))),
        labels=[
            r.LabelRow(i, name, 0.1, 4.0, 0.2 + i, 5.0, 0.9, 1.1, name, sources=HOSTILE_SOURCES)
            for i, name in enumerate(names)
        ],
        triggers=[
            dataclasses.replace(report.triggers[0], label=i, kind=name, sources=HOSTILE_SOURCES)
            for i, name in enumerate(names)
        ],
        pruned_filters=[r.FilterRow(name, 0, 0.0, 1.0) for name in names],
        samples=[r.SampleRow(i, name, i, 0, 0.8, True) for i, name in enumerate(names)],
        attributions=[r.AttributionRow(i, name, i, name, "o.png") for i, name in enumerate(names)],
        stages=[r.StageRow(name, "failed", 0.1, name) for name in names],
        curves=dataclasses.replace(
            report.curves,
            unlearn_shares=[[1 / len(names)] * len(names)] * 3,
            filter_masks={name: [0.0, 0.5, 1.0] for name in names},
        ),
        files={**report.files, names[0]: names[5]},
    )


def failed_report() -> r.ScanReport:
    """Unlearning and the triggers failed: almost every table is empty."""
    report = example_report()
    return dataclasses.replace(
        with_suspects(0, report),
        verdict="inconclusive",
        verdict_reason="stage unlearn failed: it broke.",
        backdoor_score=0.0,
        findings=[r.Finding("medium", "verdict", "stage unlearn failed", rule="RNP002")],
        suspected_target_labels=[],
        labels=[],
        triggers=[],
        pruned_filters=[],
        accuracy=r.AccuracyFacts(0.9, 0.9, [0.8, 0.95], [0.8, 0.95], 12, None, None),
        sample_threshold=None,
        stages=[
            r.StageRow("unlearn", "failed", 1.5, "it broke"),
            r.StageRow("recover", "skipped", 0.0, "unlearning failed"),
        ],
        curves=r.Curves(),
    )
