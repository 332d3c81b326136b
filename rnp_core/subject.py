"""A checkpoint ready to scan: read it, plan its network, read its images, assemble the model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from rnp_core.architectures import list_architectures
from rnp_core.assembly import NetworkPlan, assemble, plan_network
from rnp_core.checkpoints import Checkpoint, ReadLimits, load_checkpoint
from rnp_core.checkpoints.records import printable
from rnp_core.data import DefenseSet, SuspectSet
from rnp_core.errors import ArchitectureError, CheckpointError, DataError, ModelError, RnpError
from rnp_core.images import ImageLimits, ReadImages, read_defense_set, read_suspects
from rnp_core.limit_options import parse_limits
from rnp_core.metrics import clean_accuracy
from rnp_core.model import Normalization, SuspectModel
from rnp_core.offered import choose_clean, choose_poisoned, read_offered_suspects, staged
from rnp_core.request import ScanRequest

MAX_CLEAN = 2000
"""Clean images used at most, or two a class where that is more; larger sets are sampled by class
with the seed."""


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
    read_limits: ReadLimits = ReadLimits(),
    image_limits: ImageLimits = ImageLimits(),
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
    checkpoint = load_checkpoint(checkpoint_path, limits=read_limits)
    if checkpoint.non_finite:
        shown = ", ".join(checkpoint.non_finite[:5])
        raise CheckpointError(
            f"{printable(checkpoint.file_name[:100])}: expected finite weights, "
            f"{len(checkpoint.non_finite)} tensor(s) hold NaN or infinity: {shown}"
        )
    hints = checkpoint.hints
    plan = _plan(checkpoint, arch, num_classes)
    if normalization == "auto" and hints.mean and hints.std:
        normalization = Normalization(tuple(hints.mean), tuple(hints.std), "config")
    notes: list[str] = []
    if hints.num_classes not in (None, plan.num_classes):
        notes.append(
            f"the checkpoint claims {hints.num_classes} classes, its last layer has "
            f"{plan.num_classes}"
        )
    names = tuple(class_names or hints.class_names)
    if class_names is None and len(names) not in (0, plan.num_classes):
        notes.append(f"the {len(names)} class names in the checkpoint are left out")
        names = ()
    side = hints.input_size[-1] if hints.input_size else 0
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
            sizes=(side,) if side else (None, plan.input_size),
            class_names=names,
            normalization=normalization,
            seed=seed,
            limits=image_limits,
        )
    suspects, poisoned_set, more = _suspects(checkpoint, model, suspects_path, image_limits)
    return Subject(
        checkpoint, plan.architecture, model, clean, suspects, poisoned_set, (*notes, *more)
    )


def load_request(request: ScanRequest, *, with_suspects: bool = True) -> Subject:
    """What ``request`` names, read and assembled.

    Args:
        with_suspects: whether the suspects of the request are read; images that came with the
            checkpoint are either way.

    Raises:
        RnpError: see :func:`load_subject`.
    """
    suspects = request.suspects if with_suspects else None
    read_limits, image_limits = parse_limits(request.limits)
    return load_subject(
        Path(request.checkpoint),
        Path(request.clean) if request.clean is not None else None,
        suspects_path=Path(suspects) if suspects is not None else None,
        arch=request.arch,
        num_classes=request.num_classes,
        class_names=request.class_names,
        normalization=requested_normalization(request),
        seed=request.seed,
        read_limits=read_limits,
        image_limits=image_limits,
    )


def requested_normalization(request: ScanRequest) -> str | Normalization:
    """The given mean and std, else the name of a normalisation or "auto"."""
    if request.mean is not None and request.std is not None:
        return Normalization(request.mean, request.std, "given")
    return request.normalization


def _plan(checkpoint: Checkpoint, arch: str | None, num_classes: int | None) -> NetworkPlan:
    """The networks that fit; without ``arch``, what the layout claims to be is tried first."""
    claimed = checkpoint.hints.architecture
    if arch is None and claimed in list_architectures():
        with suppress(ArchitectureError):
            return plan_network(checkpoint.state, arch=claimed, num_classes=num_classes)
    return plan_network(checkpoint.state, arch=arch, num_classes=num_classes)


def _suspects(
    checkpoint: Checkpoint, model: SuspectModel, path: Path | None, limits: ImageLimits
) -> tuple[ReadImages[SuspectSet] | None, str | None, tuple[str, ...]]:
    """The suspects at ``path``, or the poisoned images inside the checkpoint with their set's name
    and a note. Of those inside, broken ones are noted and never stop a scan.
    """
    channels, size = model.input_shape[0], model.input_shape[-1]
    if path is not None:
        return read_suspects(path, channels=channels, size=size, limits=limits), None, ()
    poisoned = choose_poisoned(checkpoint.offered)
    if poisoned is None:
        return None, None, ()
    try:
        suspects = read_offered_suspects(poisoned, channels=channels, size=size, limits=limits)
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
    limits: ImageLimits,
) -> tuple[ReadImages[DefenseSet], SuspectModel]:
    """Read the images and assemble the model at the image size that suits the model best.

    Many networks end in global pooling and run at any size, so tensors alone do not tell the size:
    the images' own (None in ``sizes``) and the one that the tensors suggest compete by accuracy.
    Images that are not square are made so, with their shorter side.
    """

    def read(size: int | None) -> ReadImages[DefenseSet]:
        return read_defense_set(
            clean_path,
            channels=plan.in_channels,
            size=size,
            class_names=class_names or None,
            num_classes=plan.num_classes,
            limits=limits,
            max_images=max(MAX_CLEAN, 2 * plan.num_classes),
            seed=seed,
        )

    tried: list[tuple[ReadImages[DefenseSet], SuspectModel]] = []
    problem: RnpError | None = None
    for size in sizes:
        if any(size == model.input_shape[-1] for _, model in tried):
            continue
        try:
            clean = read(size)
            height, width = clean.images.images.shape[2:]
            if height != width:
                clean = read(min(height, width))
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
        tried.append((clean, model))
    if isinstance(problem, ModelError) and not tried and plan.input_size is None:
        raise ModelError(
            f"{problem}; if the network expects another size, resize the clean images to it"
        ) from problem
    if not tried:
        raise problem or DataError(f"cannot use the images at {clean_path}")
    if len(tried) == 1:
        return tried[0]
    return max(tried, key=lambda entry: clean_accuracy(entry[1], entry[0].images))
