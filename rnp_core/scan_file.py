"""Scan a file: read it, assemble the model, read the images, scan, write the run folder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch

from rnp_core.acceleration import choose_device
from rnp_core.checkpoints import Checkpoint, ReadLimits
from rnp_core.config import ScanConfig, preset_config
from rnp_core.images import ImageLimits
from rnp_core.limit_options import parse_limits
from rnp_core.model import Normalization, SuspectModel
from rnp_core.offered import evaluate_offered
from rnp_core.pipeline import scan
from rnp_core.progress import OnProgress, Progress, ignore_progress
from rnp_core.report import Finding, ScanReport, StageRow
from rnp_core.request import ScanRequest
from rnp_core.run_folder import REPAIRED_NAME, THUMBNAILS_NAME, check_target, write_run
from rnp_core.subject import Subject, load_subject, requested_normalization
from rnp_core.taxonomy import find_rule


def scan_request(
    request: ScanRequest,
    *,
    environment: Mapping[str, object] = MappingProxyType({}),
    stages: Path | None = None,
    on_progress: OnProgress = ignore_progress,
) -> ScanReport:
    """Scan as ``request`` says and write its run folder, in this process.

    Args:
        environment: added to the report's own.
        stages: folder that keeps results of finished stages, see :func:`rnp_core.pipeline.scan`.

    Raises:
        RnpError: see :func:`scan_checkpoint`.
    """
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    config = preset_config(request.preset, seed=request.seed)
    read_limits, image_limits = parse_limits(request.limits)
    return scan_checkpoint(
        Path(request.checkpoint),
        Path(request.clean) if request.clean is not None else None,
        Path(request.out),
        suspects_path=Path(request.suspects) if request.suspects is not None else None,
        arch=request.arch,
        num_classes=request.num_classes,
        class_names=request.class_names,
        normalization=requested_normalization(request),
        config=dataclasses.replace(
            config, repair=request.repair, precision=request.precision
        ),
        device=request.device,
        read_limits=read_limits,
        image_limits=image_limits,
        environment=environment,
        request=dataclasses.replace(request, force=False).to_dict(),
        force=request.force,
        stages=stages,
        on_progress=on_progress,
    )


def scan_checkpoint(
    checkpoint_path: Path,
    clean_path: Path | None,
    out: Path,
    *,
    suspects_path: Path | None = None,
    arch: str | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    normalization: str | Normalization = "auto",
    config: ScanConfig = ScanConfig(),
    device: str = "auto",
    read_limits: ReadLimits = ReadLimits(),
    image_limits: ImageLimits = ImageLimits(),
    environment: Mapping[str, object] = MappingProxyType({}),
    request: dict[str, object] | None = None,
    force: bool = False,
    stages: Path | None = None,
    on_progress: OnProgress = ignore_progress,
) -> ScanReport:
    """Scan a checkpoint file and write the run folder ``out``.

    Nothing is written before the scan is done, and then all of it at once. Where paths of images
    are None, those that came with the checkpoint are used, see :func:`load_subject`. ``request`` is
    written into the report, so that the scan can be run again from it.

    Raises:
        RnpError: see :func:`rnp_core.subject.load_subject`, :func:`rnp_core.pipeline.scan` and
            :func:`rnp_core.run_folder.write_run`.
    """
    check_target(out, force=force)
    target = choose_device(device)
    on_progress(Progress("load", 0, 1, checkpoint_path.name))
    start = time.perf_counter()
    subject = load_subject(
        checkpoint_path,
        clean_path,
        suspects_path=suspects_path,
        arch=arch,
        num_classes=num_classes,
        class_names=class_names,
        normalization=normalization,
        seed=config.seed,
        read_limits=read_limits,
        image_limits=image_limits,
    )
    loading = StageRow("load", "done", time.perf_counter() - start, subject.checkpoint.reader)
    on_progress(Progress("load", 1, 1, subject.architecture))
    result = scan(
        subject.model.to(target),
        subject.clean.images,
        suspects=subject.suspects.images if subject.suspects else None,
        config=config,
        stages=stages,
        on_progress=on_progress,
    )
    report = _with_file_facts(result.report, subject, loading)
    report = dataclasses.replace(
        report, environment={**report.environment, **environment}, request=request
    )
    write_run(
        out,
        report,
        pictures=result.pictures,
        repaired_state=_repaired_state(result.repaired, subject.checkpoint),
        thumbnails=result.thumbnails,
        force=force,
    )
    return report


def _with_file_facts(report: ScanReport, subject: Subject, loading: StageRow) -> ScanReport:
    checkpoint = subject.checkpoint
    findings = [
        Finding(
            f.severity,
            "file",
            f.message,
            {**f.evidence, "rule": f.rule, "atlas": list(f.atlas)},
            find_rule(f.rule).id,
        )
        for f in checkpoint.findings
    ]
    notes = [*subject.notes, *subject.clean.warnings]
    notes += subject.suspects.warnings if subject.suspects else ()
    findings += [Finding("low", "data", note, rule="RNP005") for note in notes]
    if subject.suspects is not None and subject.poisoned_set is not None:
        outcome = evaluate_offered(report, subject.suspects.images, subject.poisoned_set)
        findings += [outcome] if outcome is not None else []
    return dataclasses.replace(
        report,
        model=dataclasses.replace(
            report.model,
            path=str(checkpoint.path),
            file_name=checkpoint.file_name,
            sha256=checkpoint.sha256,
            size_bytes=checkpoint.size_bytes,
            format=checkpoint.format,
            architecture=subject.architecture,
            findings=[dataclasses.asdict(f) for f in checkpoint.findings],
        ),
        findings=[*report.findings, *findings],
        stages=[loading, *report.stages],
        files={
            "repaired_model": REPAIRED_NAME,
            **({"suspect_thumbnails": THUMBNAILS_NAME} if report.samples else {}),
        },
    )


def _repaired_state(repaired: SuspectModel, checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Repaired weights under the input's own key names, and only those."""
    state = repaired.network.state_dict()
    return {name: state[name] for name in checkpoint.state if name in state}
