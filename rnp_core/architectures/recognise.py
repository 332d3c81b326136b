"""Which network definition holds the tensors of a checkpoint, told by names and shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from rnp_core.architectures.base import Family, Guess, Reading, Shapes
from rnp_core.architectures.mismatch import (
    MisfitError,
    Mismatch,
    compare,
    compare_shapes,
    shapes_of,
)
from rnp_core.architectures.registry import FAMILIES, list_architectures
from rnp_core.errors import ArchitectureError

__all__ = ["Recognised", "Variant", "compare", "recognise", "strip_prefixes"]

WRAPPERS = ("module.", "_orig_mod.", "model.")


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
class _Fitted:
    family: Family
    guess: Guess
    mismatch: Mismatch


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


def recognise(state: Mapping[str, Tensor], *, hint: str | None = None) -> Recognised:
    """Find the network definition that holds exactly the tensors of ``state``.

    Only names and shapes are read; candidates are built on the meta device, so no memory is used
    for weights. ``num_batches_tracked`` may be absent.

    Args:
        state: tensors by name, without wrapper prefixes (see :func:`strip_prefixes`).
        hint: a family or architecture name; only that family is tried.

    Raises:
        MisfitError: when nothing fits, with the closest architecture and every missing, unexpected
            and misshapen tensor.
        ArchitectureError: when the tensors are near no architecture, or ``hint`` is unknown.
    """
    shapes = shapes_of(state)
    for family in _families(hint):
        found = _fit(family, shapes)
        if found is not None and not found.mismatch:
            return _recognised(family, found.guess)
    if hint is not None:
        raise _misfit(hint, shapes)
    closest = _closest(shapes, _fit_all(shapes))
    if closest is None:
        raise ArchitectureError(
            f"expected the tensors of a known architecture, got {len(shapes)} tensors "
            f"({_sample(shapes)}) that look like none of them; name a builder as FILE.py:CALLABLE"
        )
    name, mismatch = closest
    raise MisfitError(
        f"no known architecture fits; the closest is {name}, which {_differs(mismatch)}\n"
        "name a builder as FILE.py:CALLABLE if it is another network",
        closest=name,
        name=name,
        mismatch=mismatch,
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


def _fit(family: Family, shapes: Shapes) -> _Fitted | None:
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
    return _Fitted(family, guess, compare_shapes(shapes, shapes_of(network.state_dict())))


def _fit_all(shapes: Shapes) -> list[_Fitted]:
    return [found for family in FAMILIES if (found := _fit(family, shapes)) is not None]


def _misfit(hint: str, shapes: Shapes) -> MisfitError:
    """Why the architecture that the caller named does not fit, and which one does or nearly does.

    The tensors are compared with the member of its family that they suggest, else with the usual
    network of that name.
    """
    fitted = _fit_all(shapes)
    closest = _closest(shapes, fitted)
    family = _families(hint)[0]
    own = next(((f.guess.name, f.mismatch) for f in fitted if f.family is family), None)
    if own is None:
        presets = _preset_shapes(family.name)
        usual = hint if hint in presets else next(iter(presets))
        own = usual, compare_shapes(shapes, presets[usual])
    if closest is None:
        advice = "they look like no known architecture; name a builder as FILE.py:CALLABLE"
    elif not closest[1]:
        advice = f"they are those of {closest[0]}, so leave --arch out"
    else:
        advice = f"the closest is {closest[0]}, which differs in {len(closest[1])} tensor(s)"
    return MisfitError(
        f"the tensors are not those of {hint}; {advice}. {own[0]} {_differs(own[1])}",
        closest=closest[0] if closest else None,
        name=own[0],
        mismatch=own[1],
    )


def _differs(mismatch: Mismatch) -> str:
    return "\n  ".join([f"differs in {len(mismatch)} tensor(s):", *mismatch.lines()])


def _closest(shapes: Shapes, fitted: Sequence[_Fitted]) -> tuple[str, Mismatch] | None:
    """The architecture that differs least: what a family made of the tensors or, where that differs
    in half of them, a usual network that shares half of their names and a quarter of its own.
    """
    near = [(found.guess.name, found.mismatch) for found in fitted]
    far = all(2 * len(mismatch) >= len(shapes) for _, mismatch in near)
    for family in FAMILIES if shapes and far else ():
        for name, wanted in _preset_shapes(family.name).items():
            shared = len(wanted.keys() & shapes.keys())
            if 2 * shared >= len(shapes) and 4 * shared >= len(wanted):
                near.append((name, compare_shapes(shapes, wanted)))
    return min(near, key=lambda entry: len(entry[1]), default=None)


@cache
def _preset_shapes(family_name: str) -> dict[str, Shapes]:
    family = next(family for family in FAMILIES if family.name == family_name)
    with torch.device("meta"):
        networks = {name: family.build(**options) for name, options in family.presets.items()}
    return {name: shapes_of(network.state_dict()) for name, network in networks.items()}


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
