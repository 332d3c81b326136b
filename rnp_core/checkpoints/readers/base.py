"""The one interface of all readers: a tree of plain values with tensors not yet read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from rnp_core.checkpoints.limits import MIB, ReadLimits
from rnp_core.checkpoints.records import TensorRef
from rnp_core.checkpoints.source import Source
from rnp_core.checkpoints.trace import Trace
from rnp_core.errors import CheckpointError


@dataclass(frozen=True, eq=False)
class Contents:
    """What a file holds, with every declared size checked against the file.

    Attributes:
        root: the top value; its leaves are plain values, records and :class:`TensorRef`.
        materialise: reads the values of one tensor; its result owns its memory.
        trace: what the pickles would import and call; empty for safetensors.
        metadata: text pairs of a safetensors header.
        stream: the main pickle stream, for second opinions; empty for safetensors.
    """

    root: Any
    materialise: Callable[[TensorRef], Tensor]
    trace: Trace = field(default_factory=Trace)
    metadata: dict[str, str] = field(default_factory=dict)
    stream: bytes = b""


class Reader(Protocol):
    """Reads one container format."""

    def __call__(self, source: Source, limits: ReadLimits, trace: Trace) -> Contents:
        """The contents of ``source``; ``trace`` is filled also when reading fails.

        Raises:
            CheckpointError: when the file is damaged or passes a limit.
        """


def check_tensors(
    tensors: Iterable[TensorRef],
    source: Source,
    limits: ReadLimits,
    available: Callable[[TensorRef], int],
) -> None:
    """Compare what tensors declare with what is there.

    Args:
        tensors: every tensor that the file declares.
        source: the file.
        limits: bounds on their number and total size.
        available: bytes of the storage that the container really has for a tensor.

    Raises:
        CheckpointError: for the first tensor that reaches outside its storage, and when all
            together pass a limit.
    """
    total = 0
    most = min(limits.tensor_bytes, max(64 * MIB, int(source.size * limits.expansion)))
    for count, tensor in enumerate(tensors, start=1):
        if count > limits.tensors:
            raise CheckpointError(f"expected at most {limits.tensors} tensors, got more")
        if math.prod(max(size, 1) for size in tensor.shape) >= 1 << 62:  # torch cannot hold it
            raise CheckpointError(f"a tensor has the absurd shape {tensor.shape[:8]}")
        reach = (tensor.storage.start + tensor.end) * tensor.dtype.itemsize
        there = available(tensor)
        if reach > there:
            raise CheckpointError(
                f"a tensor of shape {tensor.shape[:8]} needs {reach} bytes of storage "
                f"{tensor.storage.key[:50]!r}, which has {there}"
            )
        total += tensor.elements * tensor.dtype.itemsize
        if total > most:
            raise CheckpointError(
                f"expected tensors of at most {most} bytes together in a file of {source.size} "
                "bytes, got more (see the limits tensor_bytes and expansion)"
            )
