"""Which network definition holds the tensors of a checkpoint, told by names and shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from rnp_core.architectures.base import Family, Guess, Reading, Shapes
from rnp_core.architectures.registry import FAMILIES, list_architectures
from rnp_core.errors import ArchitectureError

WRAPPERS = ("module.", "_orig_mod.", "model.")
_COUNTER = "num_batches_tracked"  # old checkpoints lack it, and it does not change the outputs


@dataclass(frozen=True)
class Variant:
    """One network that holds the tensors.

    Attributes:
        description: the choices that the tensors leave open, or ``"as named"``.
        build: returns the network with random weights; call it under ``torch.device("meta")`` to
            use no memory.
        input_size: height and width of the images, in pixels.
    """

    description: str
    build: Callable[[], nn.Module]
    input_size: int


@dataclass(frozen=True)
class Recognised:
    """An architecture whose names and shapes are exactly those of a checkpoint.

    Attributes:
        name: for example ``"resnet18"`` or ``"plain_cnn"``.
        family: name of the family that defines it.
        num_classes: outputs of the last layer.
        in_channels: channels of the input images.
        input_size: height and width that the tensors imply or that is usual, in pixels.
        parameters: arguments of the family's builder.
        variants: at least one, most likely first. Where there are several, they share all tensors
            and differ in activation, pooling or padding: choose by clean accuracy, the earlier one
            where the difference is within chance.
    """

    name: str
    family: str
    num_classes: int
    in_channels: int
    input_size: int
    parameters: Mapping[str, Any]
    variants: tuple[Variant, ...]

    def network(self, variant: int = 0) -> nn.Module:
        """The network of ``variants[variant]``, with random weights."""
        return self.variants[variant].build()


@dataclass(frozen=True)
class Mismatch:
    """How the tensors of a checkpoint differ from those of a network; empty when they do not.

    Attributes:
        missing: names that only the network has, ``num_batches_tracked`` left out.
        unexpected: names that only the checkpoint has.
        misshapen: name, shape in the network, shape in the checkpoint.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    def __len__(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)

    def lines(self) -> list[str]:
        """One line a tensor, in words."""
        return [
            *(f"missing {name}" for name in self.missing),
            *(f"unexpected {name}" for name in self.unexpected),
            *(f"{name}: expected {want}, got {got}" for name, want, got in self.misshapen),
        ]


def strip_prefixes(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Remove wrapper prefixes that every name carries, also nested ones.

    ``module.`` comes from ``DataParallel``, ``_orig_mod.`` from ``torch.compile``, ``model.`` from
    training frameworks.

    Returns:
        The renamed tensors in the same order, and the removed prefix (``""`` when there is none).
    """
    stripped, removed = dict(state), ""
    while stripped:
        prefix = next((w for w in WRAPPERS if all(k.startswith(w) for k in stripped)), None)
        if prefix is None:
            break
        stripped = {name[len(prefix) :]: tensor for name, tensor in stripped.items()}
        removed += prefix
    return stripped, removed


def compare(state: Mapping[str, Tensor], network: nn.Module) -> Mismatch:
    """Compare names and shapes of ``state`` with those of ``network`` (either on any device)."""
    return _compare_shapes(_shapes(state), _shapes(network.state_dict()))


def _compare_shapes(shapes: Shapes, wanted: Shapes) -> Mismatch:
    missing = (name for name in wanted if name not in shapes and not name.endswith(_COUNTER))
    shared = ((name, wanted[name], shapes[name]) for name in wanted if name in shapes)
    return Mismatch(
        tuple(sorted(missing)),
        tuple(sorted(name for name in shapes if name not in wanted)),
        tuple(sorted(item for item in shared if item[1] != item[2])),
    )


def recognise(state: Mapping[str, Tensor], *, hint: str | None = None) -> Recognised:
    """Find the network definition that holds exactly the tensors of ``state``.

    Only names and shapes are read; candidates are built on the meta device, so no memory is used
    for weights. ``num_batches_tracked`` may be absent.

    Args:
        state: tensors by name, without wrapper prefixes (see :func:`strip_prefixes`).
        hint: a family or architecture name; only that family is tried.

    Raises:
        ArchitectureError: when nothing fits. The message names the closest family and every
            missing, unexpected and misshapen tensor. Also when ``hint`` is unknown.
    """
    shapes = _shapes(state)
    closest: tuple[str, Mismatch] | None = None
    for family in _families(hint):
        fitted = _fit(family, shapes)
        if fitted is None:
            continue
        guess, mismatch = fitted
        if len(mismatch) == 0:
            return _recognised(family, guess)
        if closest is None or len(mismatch) < len(closest[1]):
            closest = guess.name, mismatch
    if hint is not None:
        raise _misfit(hint, shapes, closest)
    closest = closest or _closest_preset(shapes)
    if closest is None:
        raise ArchitectureError(
            f"expected the tensors of a known architecture, got {len(shapes)} tensors "
            f"({_sample(shapes)}) that look like none of them; name a builder as FILE.py:CALLABLE"
        )
    name, mismatch = closest
    listing = "\n  ".join(mismatch.lines())
    raise ArchitectureError(
        f"no known architecture fits; the closest is {name}, which differs in {len(mismatch)} "
        f"tensor(s):\n  {listing}\nName a builder as FILE.py:CALLABLE if it is another network"
    )


def _families(hint: str | None) -> tuple[Family, ...]:
    if hint is None:
        return FAMILIES
    chosen = tuple(family for family in FAMILIES if hint in (family.name, *family.presets))
    if not chosen:
        raise ArchitectureError(
            f"expected the name of an architecture, got {hint!r}. Known: "
            + ", ".join(list_architectures())
        )
    return chosen


def _fit(family: Family, shapes: Shapes) -> tuple[Guess, Mismatch] | None:
    """The family's guess and how it differs, or None when the family cannot hold the tensors.

    Names and shapes come from an untrusted file, so any failure to read them or to build a
    network from them means that this family does not fit.
    """
    try:
        guess = family.infer(shapes)
        if guess is None:
            return None
        with torch.device("meta"):
            network = family.build(**guess.parameters)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
        return None
    return guess, _compare_shapes(shapes, _shapes(network.state_dict()))


def _misfit(
    hint: str, shapes: Shapes, closest: tuple[str, Mismatch] | None
) -> ArchitectureError:
    """Why the architecture that the caller named does not fit, and which one does."""
    fits = next((f[0].name for family in FAMILIES if (f := _fit(family, shapes)) and not f[1]), "")
    family = _families(hint)[0]
    wanted = _preset_shapes(family.name).get(hint)
    name, mismatch = closest or (hint, Mismatch((), (), ()))
    if wanted is not None and closest is None:
        mismatch = _compare_shapes(shapes, wanted)
    listing = "\n  ".join(mismatch.lines()) or "its names and shapes are those of another family"
    advice = f"they are those of {fits}, so leave --arch out" if fits else (
        "leave --arch out to try every known one, or name a builder as FILE.py:CALLABLE"
    )
    return ArchitectureError(
        f"the tensors are not those of {hint}; {advice}. {name} differs in {len(mismatch)} "
        f"tensor(s):\n  {listing}"
    )


def _closest_preset(shapes: Shapes) -> tuple[str, Mismatch] | None:
    """The preset that differs least, if half of all names are shared; for the error message."""
    best: tuple[str, Mismatch] | None = None
    for family in FAMILIES if shapes else ():
        for name, wanted in _preset_shapes(family.name).items():
            if 2 * len(wanted.keys() & shapes.keys()) < max(len(wanted), len(shapes)):
                continue
            mismatch = _compare_shapes(shapes, wanted)
            if best is None or len(mismatch) < len(best[1]):
                best = name, mismatch
    return best


@cache
def _preset_shapes(family_name: str) -> dict[str, Shapes]:
    family = next(family for family in FAMILIES if family.name == family_name)
    with torch.device("meta"):
        networks = {name: family.build(**options) for name, options in family.presets.items()}
    return {name: _shapes(network.state_dict()) for name, network in networks.items()}


def _shapes(state: Mapping[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _recognised(family: Family, guess: Guess) -> Recognised:
    readings = guess.readings or (Reading("as named", {}),)
    variants = tuple(
        Variant(
            reading.description,
            partial(family.build, **{**guess.parameters, **reading.parameters}),
            reading.input_size or guess.input_size,
        )
        for reading in readings
    )
    return Recognised(
        guess.name,
        family.name,
        guess.parameters["num_classes"],
        guess.in_channels,
        guess.input_size,
        guess.parameters,
        variants,
    )


def _sample(shapes: Shapes) -> str:
    names = list(shapes)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
