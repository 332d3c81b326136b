"""The cheap evidence about a checkpoint: what its file would do, and where unlearning drifts to.

It costs a small part of a scan and ranks a fleet early. It gives no verdict.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnp_core.acceleration import choose_device
from rnp_core.arithmetic import scan_arithmetic
from rnp_core.checkpoints import FileFinding, inspect_checkpoint
from rnp_core.config import ScanConfig, preset_config
from rnp_core.data import DefenseSet
from rnp_core.errors import ReportError, RnpError
from rnp_core.metrics import clean_accuracy
from rnp_core.model import SuspectModel
from rnp_core.parts import retried_batches
from rnp_core.preparation import accelerate_for_scan, split, with_fitting_batches
from rnp_core.progress import OnProgress, Progress
from rnp_core.request import ScanRequest
from rnp_core.stages.unlearn import UnlearnResult, unlearn
from rnp_core.subject import load_request

FILE_SCORES = {"critical": 0.95, "high": 0.6}
"""Least score of a checkpoint whose file has a finding of that severity."""

CLEAR_DRIFT = 0.5
"""Drift from which a triage names the label."""

MOST_IMAGES = 500


def triage_request(request: ScanRequest, *, on_progress: OnProgress) -> dict[str, Any]:
    """Look at the file, unlearn, and write ``triage.json`` into ``request.out``.

    Its ``score`` is in [0, 1], higher is more suspicious; comparable among triages only. A file
    that cannot be scanned and is dangerous has the score of that.

    Raises:
        RnpError: see :func:`rnp_core.subject.load_subject`; for a file without such a finding.
    """
    device = choose_device(request.device)
    on_progress(Progress("load", 0, 1, Path(request.checkpoint).name))
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    try:
        subject = load_request(request, with_suspects=False)
    except RnpError:
        file = inspect_checkpoint(request.checkpoint)
        score, findings = _of_file(file.findings)
        if score == 0:
            raise
        return write_triage(
            Path(request.out),
            {"score": score, "labels": [], "sha256": file.sha256, "findings": findings},
        )
    on_progress(Progress("load", 1, 1, subject.architecture))
    config = preset_config("quick", seed=request.seed)
    config = dataclasses.replace(config, precision=request.precision)
    model, few = subject.model.to(device), _few(subject.clean.images)
    fit, held_out = split(few, config.holdout_share, config.seed)
    with scan_arithmetic(device, precision=config.precision, seed=config.seed):
        model = accelerate_for_scan(model, few, config)
        unlearned = _unlearn(model, fit, config, on_progress)
        accuracy = clean_accuracy(model, held_out)
    shares = unlearned.unlearned_shares
    drift = _drift(shares, used_batch_statistics=unlearned.used_batch_statistics)
    worst, findings = _of_file(subject.checkpoint.findings)
    return write_triage(
        Path(request.out),
        {
            "score": max(drift, worst),
            "drift": drift,
            "labels": [int(shares.argmax())] if drift >= CLEAR_DRIFT else [],
            "unlearned_shares": shares.tolist(),
            "clean_accuracy": accuracy,
            "architecture": subject.architecture,
            "sha256": subject.checkpoint.sha256,
            "findings": findings,
        },
    )


def _unlearn(
    model: SuspectModel, fit: DefenseSet, config: ScanConfig, on_progress: OnProgress
) -> UnlearnResult:
    """With the batches of a scan, halved where memory runs out."""
    stage = with_fitting_batches(config, model).unlearn_stage
    result, _ = retried_batches(
        lambda size: unlearn(
            model,
            fit,
            config=dataclasses.replace(stage, batch_size=size),
            on_progress=on_progress,
        ),
        stage.batch_size,
    )
    return result


def _of_file(found: Sequence[FileFinding]) -> tuple[float, list[dict[str, str]]]:
    """Least score of a file with such findings, and the findings as JSON values."""
    plain = [{"severity": f.severity, "rule": f.rule, "message": f.message} for f in found]
    return max((FILE_SCORES.get(f.severity, 0.0) for f in found), default=0.0), plain


def _drift(shares: Tensor, *, used_batch_statistics: bool) -> float:
    """How far unlearning drifts to one label: 0 for even shares, 1 when it takes everything.

    Half of that without BatchNorm, where innocent networks drift as well.
    """
    even = 1 / len(shares)
    drift = (float(shares.max()) - even) / (1 - even)
    return min(1.0, max(0.0, drift)) * (1.0 if used_batch_statistics else 0.5)


def write_triage(out: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Write the result; the folder appears whole.

    Raises:
        ReportError: when it cannot be written.
    """
    staging = out.with_name(f".{out.name}-new")
    try:
        staging.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result, indent=1, allow_nan=False)
        (staging / "triage.json").write_text(text, encoding="utf-8")
        staging.replace(out)
    except OSError as error:
        raise ReportError(f"cannot write to {out}: {error.strerror}") from error
    return result


def _few(images: DefenseSet) -> DefenseSet:
    if len(images) <= MOST_IMAGES:
        return images
    return images.subset(torch.linspace(0, len(images) - 1, MOST_IMAGES).long())
