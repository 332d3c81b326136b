"""Reading a checkpoint: the weights of a network out of a file that nobody trusts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rnp_core.checkpoints.examine import Examination, by_severity, examine, layout_name
from rnp_core.checkpoints.folder import Place, locate
from rnp_core.checkpoints.layouts import Context, Leaf, Match, recognise
from rnp_core.checkpoints.layouts.pruned import apply_mask, has_masks, merge_masks
from rnp_core.checkpoints.limits import ReadLimits
from rnp_core.checkpoints.prefixes import remove_prefix, wrapper_prefix
from rnp_core.checkpoints.readers.weights_only import load_weights_only
from rnp_core.checkpoints.records import TensorRef, printable
from rnp_core.checkpoints.result import Checkpoint, CheckpointRefused, FileFinding, Inspection
from rnp_core.checkpoints.source import open_source
from rnp_core.errors import CheckpointError

_DEFAULT_LIMITS = ReadLimits()


def inspect_checkpoint(path: Path | str, *, limits: ReadLimits = _DEFAULT_LIMITS) -> Inspection:
    """What a checkpoint is and would import. No weight is used, nothing in it runs.

    A file that cannot be scanned has a ``refusal``; that is a result, not an error.

    Args:
        path: a checkpoint file, or a folder as TrojAI, timm and Hugging Face write them.
        limits: bounds on what reading may cost.

    Raises:
        CheckpointError: when there is no file to look at (missing, a FIFO, a device, empty, a
            folder without a checkpoint).
    """
    path = Path(path)
    place = _located(path, limits)
    with open_source(place.weights, limits) as source:
        return examine(source, place, limits).inspection(path)


def load_checkpoint(path: Path | str, *, limits: ReadLimits = _DEFAULT_LIMITS) -> Checkpoint:
    """The weights in a checkpoint, read without importing or running anything that it names.

    Plain files go through ``torch.load(weights_only=True)`` after every declared size was checked;
    files with pickled objects through the inert reader, which rebuilds tensors only. What is
    dangerous about a file is in ``findings``, also when its weights could be read.

    Args:
        path: a checkpoint file, or a folder as TrojAI, timm and Hugging Face write them.
        limits: bounds on what reading may cost.

    Raises:
        CheckpointRefused: when the file must not or cannot be used; carries its inspection.
        CheckpointError: when there is no file to look at.
    """
    path = Path(path)
    place = _located(path, limits)
    with open_source(place.weights, limits) as source:
        facts = examine(source, place, limits)
        if facts.refusal is not None:
            raise _refused(facts, path)
        try:
            weights = _weights(facts, limits)
        except (CheckpointError, MemoryError) as error:
            facts.refusal = str(error) or "reading the file needs more memory than there is"
            raise _refused(facts, path) from error
        except RuntimeError as error:  # torch, mostly because it cannot allocate
            facts.refusal = f"torch cannot make the tensors: {printable(str(error)[:200])}"
            raise _refused(facts, path) from error
        return _checkpoint(path, facts, weights)


def _located(path: Path, limits: ReadLimits) -> Place:
    try:
        return locate(path, limits)
    except OSError as error:
        name = printable(path.name[:100])
        raise CheckpointError(f"cannot open {name!r}: {error.strerror}") from error


def _refused(facts: Examination, path: Path) -> CheckpointRefused:
    name = printable(facts.source.path.name[:100])
    return CheckpointRefused(f"{name}: {facts.refusal}", facts.inspection(path))


@dataclass(frozen=True, eq=False)
class _Weights:
    reader: str
    match: Match
    prefix: str
    masked: bool
    state: dict[str, Tensor]


def _weights(facts: Examination, limits: ReadLimits) -> _Weights:
    assert facts.contents is not None and facts.reader is not None
    root, reader, materialise = facts.contents.root, facts.reader, facts.contents.materialise
    if reader == "weights_only":
        plain = load_weights_only(facts.source)
        if plain is None:
            reader = "inert"
        else:
            root = plain
    context = Context(limits, _values(materialise), facts.place.folder, facts.place.configs)
    match = recognise(root, context)
    _check_agreement(facts, match)
    prefix = wrapper_prefix(match.entries)
    values = _values(materialise)
    state = {
        name: _plain(name, values(leaf))
        for name, leaf in remove_prefix(match.entries, prefix).items()
    }
    masked = has_masks(state)
    if masked:
        state = merge_masks(state, apply_mask)
    return _Weights(reader, match, prefix, masked, state)


def _check_agreement(facts: Examination, match: Match) -> None:
    """Refuse a file in which torch sees other tensors than the inspection did."""
    assert facts.match is not None
    inspected = {name: tuple(leaf.shape) for name, leaf in facts.match.entries.items()}
    if inspected != {name: tuple(leaf.shape) for name, leaf in match.entries.items()}:
        raise CheckpointError("two readers see different tensors in this file; it is ambiguous")


def _values(materialise: Callable[[TensorRef], Tensor]) -> Callable[[Leaf], Tensor]:
    def values(leaf: Leaf) -> Tensor:
        return materialise(leaf) if isinstance(leaf, TensorRef) else leaf.detach()

    return values


def _plain(name: str, tensor: Tensor) -> Tensor:
    """A contiguous CPU tensor; half precision becomes float32."""
    if tensor.is_complex():
        raise CheckpointError(f"tensor {name!r} is complex, which no image classifier here uses")
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    return tensor.contiguous()


def _checkpoint(path: Path, facts: Examination, weights: _Weights) -> Checkpoint:
    non_finite = tuple(
        name
        for name, tensor in weights.state.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all()
    )
    if non_finite:
        facts.findings.append(
            FileFinding(
                "high",
                "non-finite",
                f"{len(non_finite)} tensor(s) hold NaN or infinity",
                {"tensors": list(non_finite[:20]), "count": len(non_finite)},
            )
        )
    return Checkpoint(
        path=path,
        file_name=facts.source.path.name,
        sha256=facts.source.sha256,
        size_bytes=facts.source.size,
        format=facts.container,
        reader=weights.reader,
        layout=layout_name(weights.match, masked=weights.masked),
        state=weights.state,
        removed_prefix=weights.prefix,
        findings=by_severity(facts.findings),
        hints=weights.match.hints,
        offered=weights.match.offered,
        non_finite=non_finite,
    )
