"""The zip container that torch.save writes since PyTorch 1.6, read without torch.load."""

from __future__ import annotations

import io
from typing import Any

import torch

from rnp_core.checkpoints.archive import Archive, open_archive, verify_checksums
from rnp_core.checkpoints.limits import ReadLimits
from rnp_core.checkpoints.pickle_machine import PickleMachine
from rnp_core.checkpoints.readers.base import Contents, check_tensors
from rnp_core.checkpoints.readers.storages import StorageCache
from rnp_core.checkpoints.rebuild import integer, storage_dtype
from rnp_core.checkpoints.records import StorageRef, TensorRef
from rnp_core.checkpoints.source import Source
from rnp_core.checkpoints.stray_pickles import trace_streams
from rnp_core.checkpoints.trace import Trace
from rnp_core.checkpoints.walk import check_depth
from rnp_core.errors import CheckpointError


def read_torch_zip(source: Source, limits: ReadLimits, trace: Trace) -> Contents:
    """The contents of a zip container. Implements :class:`rnp_core.checkpoints.readers.Reader`.

    Every checksum is verified first, so that a later reader of the same file sees the same bytes.
    """
    archive = open_archive(source, limits)
    stream = archive.read(f"{archive.root}data.pkl", limits.pickle_bytes)
    reader = io.BytesIO(stream)
    types: dict[str, torch.dtype] = {}
    machine = PickleMachine(
        reader,
        limits=limits,
        trace=trace,
        persistent_load=lambda saved: _storage(saved, archive, types),
    )
    root = machine.load()
    trace.trailing_bytes = len(stream) - reader.tell()
    if trace.trailing_bytes:
        trace_streams(reader, limits, trace)
    check_depth(root, limits.depth)
    _check_byte_order(archive)
    check_tensors(trace.tensors, source, limits, lambda ref: _member_size(archive, ref))
    verify_checksums(archive)
    cache = StorageCache(
        lambda key: bytearray(archive.read(f"{archive.root}data/{key}", limits.file_bytes))
    )
    return Contents(root, cache.materialise, trace=trace, stream=stream)


def _storage(saved: Any, archive: Archive, types: dict[str, torch.dtype]) -> StorageRef:
    """The storage of ``("storage", class, key, location, elements)``; ``types`` are those so far.

    A storage has one type: torch refuses to save it with two, and reads all with the first.
    """
    if not isinstance(saved, tuple) or len(saved) != 5 or saved[0] != "storage":
        raise ValueError("a persistent id that is not a tensor storage")
    key, elements = saved[2], integer(saved[4])
    if not isinstance(key, str) or not key.isdigit():
        raise ValueError("a storage whose key is not a number")
    dtype = storage_dtype(saved[1])
    info = archive.members.get(f"{archive.root}data/{key}")
    if info is None:
        raise CheckpointError(f"the archive lacks storage {key[:50]!r}; it is incomplete")
    if elements * dtype.itemsize != info.file_size:
        raise CheckpointError(
            f"storage {key[:50]!r} declares {elements * dtype.itemsize} bytes and has "
            f"{info.file_size}"
        )
    if types.setdefault(key, dtype) != dtype:
        raise CheckpointError(f"storage {key[:50]!r} is declared with two types")
    return StorageRef(key, dtype, 0, elements, elements)


def _member_size(archive: Archive, ref: TensorRef) -> int:
    return archive.members[f"{archive.root}data/{ref.storage.key}"].file_size


def _check_byte_order(archive: Archive) -> None:
    name = f"{archive.root}byteorder"
    if name in archive.members and archive.read(name, 64) != b"little":
        raise CheckpointError("the file was not written on a little-endian machine; save it again")
