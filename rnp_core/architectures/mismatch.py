"""How the tensors of a checkpoint differ from those of a network, and the error that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from rnp_core.architectures.base import Shapes
from rnp_core.errors import ArchitectureError

_LISTED = 1000  # differences of a kind in a message; a hostile file may have millions
_COUNTER = "num_batches_tracked"  # old checkpoints lack it, and it does not change the outputs


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
        """One line a tensor, in words: at most 1,000 of each kind, then how many more."""
        misshapen = [f"{name}: expected {want}, got {got}" for name, want, got in self.misshapen]
        return [
            *_first([f"missing {name}" for name in self.missing], "missing"),
            *_first([f"unexpected {name}" for name in self.unexpected], "unexpected"),
            *_first(misshapen, "of another shape"),
        ]


class MisfitError(ArchitectureError):
    """The tensors of a checkpoint are near a known architecture, or not those of the one named.

    Attributes:
        closest: the known architecture that differs least, or None when all are far away.
        name: the architecture that the tensors were compared with.
        mismatch: every difference from it; the message lists the first of each kind.
    """

    def __init__(
        self, message: str, *, closest: str | None, name: str, mismatch: Mismatch
    ) -> None:
        super().__init__(message)
        self.closest = closest
        self.name = name
        self.mismatch = mismatch


def compare(state: Mapping[str, Tensor], network: nn.Module) -> Mismatch:
    """Compare names and shapes of ``state`` with those of ``network`` (either on any device)."""
    return compare_shapes(shapes_of(state), shapes_of(network.state_dict()))


def compare_shapes(shapes: Shapes, wanted: Shapes) -> Mismatch:
    """How ``shapes`` of a checkpoint differ from those that a network wants."""
    missing = (name for name in wanted if name not in shapes and not name.endswith(_COUNTER))
    shared = ((name, wanted[name], shapes[name]) for name in wanted if name in shapes)
    return Mismatch(
        tuple(sorted(missing)),
        tuple(sorted(name for name in shapes if name not in wanted)),
        tuple(sorted(item for item in shared if item[1] != item[2])),
    )


def shapes_of(state: Mapping[str, Tensor]) -> Shapes:
    """Shape of every tensor by name."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _first(lines: list[str], kind: str) -> list[str]:
    if len(lines) <= _LISTED:
        return lines
    return [*lines[:_LISTED], f"and {len(lines) - _LISTED} more {kind}"]
