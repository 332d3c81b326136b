"""Which network a tensor table belongs to, told by names and shapes while no weight is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from rnp_core.architectures import recognise
from rnp_core.architectures.base import Shapes
from rnp_core.architectures.registry import FAMILIES
from rnp_core.checkpoints.records import printable
from rnp_core.errors import ArchitectureError

_MOST_TENSORS = 10_000  # no known network has more; bounds the work on hostile tables
_MOST_LINES = 8
_LINE = 200


@dataclass(frozen=True)
class ArchitectureGuess:
    """The network definition that holds exactly the tensors of a table, or the closest miss.

    Attributes:
        name: for example ``"resnet18"``; None when no known definition fits.
        family: the family of definitions, for example ``"resnet"``.
        depth: layers with weights (convolutions and linear layers, those of shortcuts included).
        width: most output channels or units of such a layer, the last one left out.
        num_classes: outputs of the last layer.
        in_channels: channels of the images.
        input_size: side of the images that the tensors imply or that is usual, in pixels.
        variants: networks that share these tensors; the images tell them apart.
        miss: why nothing fits, with the closest definition and the first differences.
    """

    name: str | None = None
    family: str | None = None
    depth: int = 0
    width: int = 0
    num_classes: int | None = None
    in_channels: int | None = None
    input_size: int | None = None
    variants: int = 0
    miss: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The guess as JSON values."""
        return asdict(self)


def guess_architecture(shapes: Shapes) -> ArchitectureGuess:
    """Recognise the tensors of ``shapes``, wrapper prefixes removed. Does not raise."""
    layers = [shape for name, shape in shapes.items() if len(shape) in (2, 4)]
    depth, width = len(layers), max((shape[0] for shape in layers[:-1]), default=0)
    if len(shapes) > _MOST_TENSORS:
        miss = f"no known architecture has more than {_MOST_TENSORS} tensors"
        return ArchitectureGuess(None, None, depth, width, miss=miss)
    if not _resembles_any(shapes):
        miss = "the names and shapes of the tensors look like no known architecture"
        return ArchitectureGuess(None, None, depth, width, miss=miss)
    try:
        table = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        found = recognise(table)
    except ArchitectureError as error:
        miss = _shorten(str(error).splitlines())
        return ArchitectureGuess(None, None, depth, width, miss=miss)
    except RuntimeError:  # a shape that torch does not take
        return ArchitectureGuess(None, None, depth, width, miss="the shapes of tensors are absurd")
    return ArchitectureGuess(
        name=found.name,
        family=found.family,
        depth=depth,
        width=width,
        num_classes=found.num_classes,
        in_channels=found.in_channels,
        input_size=found.input_size,
        variants=len(found.variants),
    )


def _resembles_any(shapes: Shapes) -> bool:
    """Whether a family takes the tensors for its own; cheaper than the search for a closest one."""
    for family in FAMILIES:
        try:
            if family.infer(shapes) is not None:
                return True
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
            continue
    return False


def _shorten(lines: Sequence[str]) -> str:
    """The first line and the first differences."""
    kept = [printable(line[:_LINE]) for line in lines[:_MOST_LINES]]
    return "; ".join(line.strip() for line in kept) + ("; ..." if len(lines) > len(kept) else "")
