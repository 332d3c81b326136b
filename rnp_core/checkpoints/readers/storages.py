"""Turning bytes of a container into tensors, after everything declared was checked."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from rnp_core.checkpoints.records import TensorRef
from rnp_core.errors import CheckpointError


class StorageCache:
    """Reads each storage once and cuts tensors out of it.

    Args:
        read: gives the bytes of the storage that a tensor lies in, by storage key.
    """

    def __init__(self, read: Callable[[str], bytearray]) -> None:
        self._read = read
        self._loaded: dict[str, bytearray] = {}
        self._given: set[str] = set()  # storages whose memory a tensor has taken over

    def materialise(self, ref: TensorRef) -> Tensor:
        """The values of ``ref`` as a contiguous tensor with its own memory."""
        if sys.byteorder != "little":
            raise CheckpointError("checkpoints can only be read on little-endian machines")
        if ref.elements == 0:
            return torch.empty(ref.shape, dtype=ref.dtype)
        key = ref.storage.key
        if key not in self._loaded:
            self._loaded[key] = self._read(key)
        data = self._loaded[key]
        start = ref.storage.start + ref.offset
        flat = torch.frombuffer(
            data,
            dtype=ref.dtype,
            count=ref.end - ref.offset,
            offset=start * ref.dtype.itemsize,
        )
        tensor = flat.as_strided(ref.shape, ref.stride)
        whole = ref.elements * ref.dtype.itemsize == len(data)
        if whole and tensor.is_contiguous() and key not in self._given:
            self._given.add(key)
            return tensor
        return tensor.clone(memory_format=torch.contiguous_format)
