"""The container that torch.save wrote before PyTorch 1.6: pickles, then raw storages."""

from __future__ import annotations

from typing import Any, BinaryIO, cast

from rnp_core.checkpoints.bounded_stream import BoundedStream
from rnp_core.checkpoints.container import LEGACY_MAGIC
from rnp_core.checkpoints.limits import ReadLimits
from rnp_core.checkpoints.pickle_machine import PickleMachine
from rnp_core.checkpoints.readers.base import Contents, check_tensors
from rnp_core.checkpoints.readers.storages import StorageCache
from rnp_core.checkpoints.rebuild import integer, storage_dtype
from rnp_core.checkpoints.records import StorageRef
from rnp_core.checkpoints.source import Source
from rnp_core.checkpoints.trace import Trace
from rnp_core.checkpoints.walk import check_depth
from rnp_core.errors import CheckpointError

_PROTOCOL_VERSION = 1001
_LENGTH_BYTES = 8  # every storage starts with its number of elements


def read_torch_legacy(source: Source, limits: ReadLimits, trace: Trace) -> Contents:
    """The contents of a legacy container. Implements :class:`rnp_core.checkpoints.readers.Reader`.

    The stream is: magic number, protocol version, system information, the saved object, the list
    of storage keys (five pickles), then each storage in the order of the keys.
    """
    source.file.seek(0)
    storages = _Storages(source)

    def load(persistent: bool = False) -> Any:
        machine = PickleMachine(
            cast(BinaryIO, BoundedStream(source.file, source.size, limits)),
            limits=limits,
            trace=trace,
            persistent_load=storages.declare if persistent else None,
        )
        return machine.load()

    if load() != LEGACY_MAGIC:
        raise CheckpointError("the file does not start with the magic number of torch.save")
    if load() != _PROTOCOL_VERSION:
        raise CheckpointError("the legacy container has an unknown protocol version")
    information = load()
    if isinstance(information, dict) and information.get("little_endian") is False:
        raise CheckpointError("the file was not written on a little-endian machine; save it again")
    begin = source.file.tell()
    root = load(persistent=True)
    end = source.file.tell()
    check_depth(root, limits.depth)
    trace.trailing_bytes = source.size - storages.locate(load())
    check_tensors(trace.tensors, source, limits, lambda ref: storages.size(ref.storage.key))
    cache = StorageCache(storages.read)
    source.file.seek(begin)
    stream = source.file.read(end - begin)
    return Contents(root, cache.materialise, trace=trace, stream=stream)


class _Storages:
    """Declared storages first, then where they lie in the file."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._declared: dict[str, StorageRef] = {}
        self._places: dict[str, tuple[int, int]] = {}
        self._declared_bytes = 0

    def declare(self, saved: Any) -> Any:
        """What a persistent id stands for: a storage, or the class of a module with its source."""
        if not isinstance(saved, tuple) or not saved:
            raise ValueError("a persistent id that is not a tensor storage")
        if saved[0] == "module" and len(saved) == 4:
            return saved[1]
        if saved[0] != "storage" or len(saved) != 6:
            raise ValueError("a persistent id that is not a tensor storage")
        key, elements, view = saved[2], integer(saved[4]), saved[5]
        if not isinstance(key, str) or len(key) > 100:
            raise ValueError("a storage whose key is not a short text")
        dtype = storage_dtype(saved[1])
        whole = StorageRef(key, dtype, 0, elements, elements)
        known = self._declared.setdefault(key, whole)
        if known is whole:
            self._declared_bytes += elements * dtype.itemsize
        if known != whole or self._declared_bytes > self._source.size:
            raise CheckpointError(
                f"storage {key[:50]!r} declares {elements * dtype.itemsize} bytes; "
                f"the whole file has {self._source.size}"
            )
        if view is None:
            return whole
        if not isinstance(view, tuple) or len(view) != 3:
            raise ValueError("a storage view that is not (key, offset, size)")
        start, length = integer(view[1]), integer(view[2])
        if start + length > elements:
            raise CheckpointError(f"a view reaches outside of storage {key[:50]!r}")
        return StorageRef(key, dtype, start, length, elements)

    def locate(self, keys: Any) -> int:
        """Note the place of every storage; ``keys`` gives their order. Returns where they end."""
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise CheckpointError("malformed legacy container: no list of storage keys")
        file, size = self._source.file, self._source.size
        if len(set(keys)) != len(keys) or set(keys) != set(self._declared):
            raise CheckpointError("the storages in the file are not those that its tensors name")
        position = file.tell()
        for key in keys:
            declared = self._declared[key]
            file.seek(position)
            elements = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if elements != declared.declared:
                raise CheckpointError(
                    f"storage {key[:50]!r} declares {declared.declared} elements and has {elements}"
                )
            start, length = position + _LENGTH_BYTES, elements * declared.dtype.itemsize
            position = start + length
            if position > size:
                raise CheckpointError("the file ends inside a storage; it is truncated")
            self._places[key] = (start, length)
        return position

    def size(self, key: str) -> int:
        return self._places[key][1]

    def read(self, key: str) -> bytearray:
        start, length = self._places[key]
        self._source.file.seek(start)
        data = bytearray(self._source.file.read(length))
        if len(data) != length:
            raise CheckpointError("the file ends inside a storage; it is truncated")
        return data
