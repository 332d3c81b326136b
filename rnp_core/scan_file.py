"""Scan a file: read it, assemble the model, read the images, scan, write the run folder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch

from rnp_core.assembly import NetworkPlan, assemble, plan_network
from rnp_core.checkpoints import Checkpoint, load_checkpoint
from rnp_core.config import ScanConfig, preset_config
from rnp_core.data import DefenseSet, SuspectSet
from rnp_core.errors import CheckpointError, ConfigError, DataError, ModelError, RnpError
from rnp_core.images import ReadImages, read_defense_set, read_suspects
from rnp_core.metrics import clean_accuracy
from rnp_core.model import Normalization, SuspectModel
from rnp_core.offered import (
    choose_clean,
    choose_poisoned,
    evaluate_offered,
    read_offered_suspects,
    staged,
)
from rnp_core.pipeline import scan
from rnp_core.progress import OnProgress, Progress, ignore_progress
from rnp_core.report import Finding, ScanReport, StageRow
from rnp_core.request import ScanRequest
from rnp_core.run_folder import REPAIRED_NAME, THUMBNAILS_NAME, check_target, write_run

MAX_CLEAN = 2000
"""Clean images used at most; more are sampled by class with the seed."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A checkpoint ready to scan.

    Attributes:
        checkpoint, architecture, model, clean, suspects: what was read and assembled.
        poisoned_set: name of the set inside the checkpoint that the suspects are, or None.
        notes: what was assumed about images that came with the checkpoint.
    """

    checkpoint: Checkpoint
    architecture: str
    model: SuspectModel
    clean: ReadImages[DefenseSet]
    suspects: ReadImages[SuspectSet] | None
    poisoned_set: str | None = None
    notes: tuple[str, ...] = ()


def load_subject(
    checkpoint_path: Path,
    clean_path: Path | None,
    *,
    suspects_path: Path | None = None,
    arch: str | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    normalization: str | Normalization = "auto",
    seed: int = 0,
) -> Subject:
    """Read a checkpoint and its images, and assemble the model.

    Without ``clean_path``, labelled clean images that came with the checkpoint are used (TrojAI,
    BackdoorBench 1); without ``suspects_path``, poisoned ones that did are the suspects.

    Raises:
        CheckpointError: when the file cannot or must not be read, or holds NaN or infinity.
        ArchitectureError: when no network fits.
        DataError: when the images cannot be used.
        ModelError: when the model does not run on them.
    """
    checkpoint = load_checkpoint(checkpoint_path)
    if checkpoint.non_finite:
        shown = ", ".join(checkpoint.non_finite[:5])
        raise CheckpointError(
            f"expected finite weights, {len(checkpoint.non_finite)} tensor(s) hold NaN or "
            f"infinity: {shown}"
        )
    hints = checkpoint.hints
    plan = plan_network(checkpoint.state, arch=arch, num_classes=num_classes)
    names = tuple(class_names or hints.class_names)
    if normalization == "auto" and hints.mean and hints.std:
        normalization = Normalization(tuple(hints.mean), tuple(hints.std), "config")
    notes: list[str] = []
    with ExitStack() as stack:
        if clean_path is None:
            offered = choose_clean(checkpoint.offered)
            if offered is None:
                raise DataError(
                    "--clean is needed, a folder, zip or npz of clean labelled images: the "
                    "checkpoint brings none"
                )
            clean_path = stack.enter_context(staged(offered))
            notes.append(
                f"no clean images were given; those that came with the checkpoint "
                f"({offered.name}, {len(offered)} images) are used, and nobody has checked them"
            )
        clean, model = _read_and_assemble(
            plan,
            checkpoint,
            clean_path,
            sizes=(hints.input_size[-1],) if hints.input_size else (None, plan.input_size),
            class_names=names,
            normalization=normalization,
            seed=seed,
        )
    suspects, poisoned_set, more = _suspects(checkpoint, model, suspects_path)
    return Subject(
        checkpoint, plan.architecture, model, clean, suspects, poisoned_set, (*notes, *more)
    )


def _suspects(
    checkpoint: Checkpoint, model: SuspectModel, path: Path | None
) -> tuple[ReadImages[SuspectSet] | None, str | None, tuple[str, ...]]:
    """The suspects at ``path``, or the poisoned images inside the checkpoint with their set's name
    and a note. Of those inside, broken ones are noted and never stop a scan.
    """
    channels, size = model.input_shape[0], model.input_shape[-1]
    if path is not None:
        return read_suspects(path, channels=channels, size=size), None, ()
    poisoned = choose_poisoned(checkpoint.offered)
    if poisoned is None:
        return None, None, ()
    try:
        suspects = read_offered_suspects(poisoned, channels=channels, size=size)
    except DataError as error:
        note = f"the images of {poisoned.name}, which came with the checkpoint, are no use: {error}"
        return None, None, (note,)
    note = (
        f"no suspects were given; the {len(suspects.images)} images of {poisoned.name}, which "
        "came with the checkpoint, are triaged"
    )
    return suspects, poisoned.name, (note,)


def _read_and_assemble(
    plan: NetworkPlan,
    checkpoint: Checkpoint,
    clean_path: Path,
    *,
    sizes: Sequence[int | None],
    class_names: tuple[str, ...],
    normalization: str | Normalization,
    seed: int,
) -> tuple[ReadImages[DefenseSet], SuspectModel]:
    """Read the images and assemble the model at the image size that suits the model best.

    Many networks end in global pooling and run at any size, so tensors alone do not tell the size:
    the images' own (None in ``sizes``) and the one that the tensors suggest compete by accuracy.
    """
    tried: list[tuple[float, ReadImages[DefenseSet], SuspectModel]] = []
    problem: RnpError | None = None
    for size in sizes:
        if any(size == entry[2].input_shape[-1] for entry in tried):
            continue
        try:
            clean = read_defense_set(
                clean_path,
                channels=plan.in_channels,
                size=size,
                class_names=class_names or None,
                num_classes=plan.num_classes,
                max_images=MAX_CLEAN,
                seed=seed,
            )
            model = assemble(
                plan,
                checkpoint.state,
                clean.images,
                normalization=normalization,
                class_names=class_names or clean.images.class_names,
            )
        except (DataError, ModelError) as error:
            problem = error
            continue
        tried.append((clean_accuracy(model, clean.images), clean, model))
    if not tried:
        raise problem or DataError(f"cannot use the images at {clean_path}")
    _, clean, model = max(tried, key=lambda entry: entry[0])
    return clean, model


def scan_request(
    request: ScanRequest,
    *,
    environment: Mapping[str, object] = MappingProxyType({}),
    on_progress: OnProgress = ignore_progress,
) -> ScanReport:
    """Scan as ``request`` says and write its run folder, in this process.

    Args:
        environment: added to the report's own.

    Raises:
        RnpError: see :func:`scan_checkpoint`.
    """
    if request.device == "cuda":
        raise ConfigError("this version scans on the CPU; use --device cpu or auto")
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    normalization: str | Normalization = request.normalization
    if request.mean is not None and request.std is not None:
        normalization = Normalization(request.mean, request.std, "given")
    config = preset_config(request.preset, seed=request.seed)
    return scan_checkpoint(
        Path(request.checkpoint),
        Path(request.clean) if request.clean is not None else None,
        Path(request.out),
        suspects_path=Path(request.suspects) if request.suspects is not None else None,
        arch=request.arch,
        num_classes=request.num_classes,
        class_names=request.class_names,
        normalization=normalization,
        config=dataclasses.replace(config, repair=request.repair),
        environment=environment,
        force=request.force,
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
    environment: Mapping[str, object] = MappingProxyType({}),
    force: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> ScanReport:
    """Scan a checkpoint file and write the run folder ``out``.

    Nothing is written before the scan is done, and then all of it at once. Where paths of images
    are None, those that came with the checkpoint are used, see :func:`load_subject`.

    Raises:
        RnpError: see :func:`load_subject`, :func:`rnp_core.pipeline.scan` and
            :func:`rnp_core.run_folder.write_run`.
    """
    check_target(out, force=force)
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
    )
    loading = StageRow("load", "done", time.perf_counter() - start, subject.checkpoint.reader)
    on_progress(Progress("load", 1, 1, subject.architecture))
    result = scan(
        subject.model,
        subject.clean.images,
        suspects=subject.suspects.images if subject.suspects else None,
        config=config,
        on_progress=on_progress,
    )
    report = _with_file_facts(result.report, subject, loading)
    report = dataclasses.replace(report, environment={**report.environment, **environment})
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
            f.severity, "file", f.message, {**f.evidence, "rule": f.rule, "atlas": list(f.atlas)}
        )
        for f in checkpoint.findings
    ]
    notes = [*subject.notes, *subject.clean.warnings]
    notes += subject.suspects.warnings if subject.suspects else ()
    findings += [Finding("low", "data", note) for note in notes]
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
