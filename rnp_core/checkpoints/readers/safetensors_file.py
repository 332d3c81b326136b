"""safetensors: a JSON header and raw tensors; nothing in it can run."""

from __future__ import annotations

import json
import math
from typing import Any

import torch

from rnp_core.checkpoints.limits import ReadLimits
from rnp_core.checkpoints.readers.base import Contents, check_tensors
from rnp_core.checkpoints.readers.storages import StorageCache
from rnp_core.checkpoints.records import StorageRef, TensorRef, printable
from rnp_core.checkpoints.source import Source
from rnp_core.checkpoints.trace import Trace
from rnp_core.errors import CheckpointError

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


def read_safetensors(source: Source, limits: ReadLimits, trace: Trace) -> Contents:
    """The contents of a safetensors file. Implements :class:`rnp_core.checkpoints.readers.Reader`.

    The header is checked as the format's specification asks: unique names, and byte ranges that
    cover the rest of the file without holes or overlaps.
    """
    source.file.seek(0)
    length = int.from_bytes(source.file.read(8), "little")
    if length > min(limits.json_bytes, source.size - 8):
        raise CheckpointError(f"the safetensors header declares {length} bytes, which is too long")
    header = _parse(source.file.read(length))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise CheckpointError("malformed safetensors header: metadata that is not a map")
    begin = 8 + length
    places: dict[str, tuple[int, int]] = {}
    tensors: dict[str, TensorRef] = {}
    for name, entry in header.items():
        tensors[name], places[name] = _tensor(name, entry)
    _check_cover(places, source.size - begin)
    check_tensors(tensors.values(), source, limits, lambda ref: places[ref.storage.key][1])

    def read(key: str) -> bytearray:
        start, size = places[key]
        source.file.seek(begin + start)
        return bytearray(source.file.read(size))

    text = {str(key): value for key, value in metadata.items() if isinstance(value, str)}
    return Contents(tensors, StorageCache(read).materialise, trace=trace, metadata=text)


def _parse(data: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise CheckpointError("the safetensors header names a tensor twice, so it is ambiguous")
        return result

    try:
        header = json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError("malformed safetensors header: not JSON") from error
    if not isinstance(header, dict):
        raise CheckpointError("malformed safetensors header: not a map")
    return header


def _tensor(name: str, entry: Any) -> tuple[TensorRef, tuple[int, int]]:
    """The tensor of a header entry, and the start and length of its bytes."""
    shown = printable(name[:100])
    if not isinstance(entry, dict):
        raise CheckpointError(f"malformed safetensors header at {shown!r}")
    shape, offsets = _sizes(entry.get("shape")), _sizes(entry.get("data_offsets"))
    if shape is None or offsets is None or len(offsets) != 2:
        raise CheckpointError(f"malformed safetensors header at {shown!r}")
    kind = entry.get("dtype")
    dtype = _DTYPES.get(kind) if isinstance(kind, str) else None
    if dtype is None:
        raise CheckpointError(
            f"tensor {shown!r} has the type {printable(str(kind)[:20])!r}, which is not supported"
        )
    stride = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    elements = math.prod(shape)
    if offsets[1] - offsets[0] != elements * dtype.itemsize:
        raise CheckpointError(
            f"tensor {shown!r} needs {elements * dtype.itemsize} bytes and has "
            f"{offsets[1] - offsets[0]}"
        )
    storage = StorageRef(name, dtype, 0, elements, elements)
    ref = TensorRef(storage, 0, shape, tuple(stride), dtype)
    return ref, (offsets[0], offsets[1] - offsets[0])


def _sizes(value: Any) -> tuple[int, ...] | None:
    """Up to 32 integers in [0, 2**62), or None."""
    if not isinstance(value, list) or len(value) > 32:
        return None
    if any(isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < 1 << 62 for n in value):
        return None
    return tuple(value)


def _check_cover(places: dict[str, tuple[int, int]], size: int) -> None:
    position = 0
    for start, length in sorted(places.values()):
        if start != position:
            raise CheckpointError("the tensors of the safetensors file overlap or leave holes")
        position += length
    if position != size:
        raise CheckpointError(
            f"the safetensors header describes {position} bytes of tensors, the file has {size}"
        )
