"""Images in an npz file: two plain arrays, ``x`` and ``y``, streamed with checked headers."""

from __future__ import annotations

import io
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnp_core.checkpoints.records import printable
from rnp_core.errors import DataError
from rnp_core.images.archive import MemberStream, SafeZip
from rnp_core.images.budget import Budget
from rnp_core.images.classes import ClassMap
from rnp_core.images.collect import Collected, describe_notes, to_images
from rnp_core.images.decode import convert_pixels
from rnp_core.images.limits import MIB
from rnp_core.images.result import BrokenFile
from rnp_core.images.subset import Indices

_NAMES_BYTES = MIB
_HEADER_BYTES = 1 << 14  # numpy itself refuses headers above 10,000 characters


@dataclass(frozen=True)
class ArrayHeader:
    """What a member declares: shape, type, order and the bytes before the data."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    data_start: int


def read_header(archive: SafeZip, key: str) -> ArrayHeader:
    """The header of array ``key``; nothing is allocated for its data.

    Raises:
        DataError: when the array is missing, not in the npy format, holds pickled objects, or its
            declared size is above the limits or not that of the file.
    """
    name = f"{key}.npy"
    if name not in archive.members:
        found = ", ".join(printable(n[:60]) for n in list(archive.members)[:8]) or "nothing"
        raise DataError(f"expected an array {key!r} in the npz file, got {found}")
    try:
        with archive.stream(name) as stream:
            head = io.BytesIO(stream.read(_HEADER_BYTES))
    except BrokenFile as error:
        raise DataError(f"cannot read the array {key!r}: {error}") from error
    try:
        version = np.lib.format.read_magic(head)
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran_order, dtype = reader(head)
    except Exception as error:  # a hostile header raises many kinds
        raise DataError(
            f"expected the array {key!r} in the npy format, its header is bad"
        ) from error
    if dtype.hasobject:
        raise DataError(f"the array {key!r} holds pickled objects, which are never loaded")
    return ArrayHeader(tuple(int(side) for side in shape), dtype, fortran_order, head.tell())


def read_rows(
    archive: SafeZip,
    key: str,
    header: ArrayHeader,
    *,
    rows: Indices | None,
    budget: Budget,
) -> NDArray:
    """The array ``key``, or only ``rows`` of it (ascending, first axis), checked while streaming.

    Raises:
        DataError: when the array is above ``array_bytes``, shorter or longer than declared,
            damaged, or a decompression bomb.
    """
    size = math.prod(header.shape) * header.dtype.itemsize
    if min(header.shape) < 0 or size > budget.limits.array_bytes:
        raise DataError(
            f"expected an array {key!r} of at most {budget.limits.array_bytes / MIB:.0f} MiB "
            f"(limit array_bytes), got shape {header.shape}"
        )
    declared = archive.members[f"{key}.npy"].file_size - header.data_start
    if declared != size:
        raise DataError(
            f"the array {key!r} has {declared} bytes, expected {size} for shape {header.shape}"
        )
    try:
        with archive.stream(f"{key}.npy") as stream:
            _read_exactly(stream, header.data_start)
            result = _take(stream, header, rows)
            if stream.read(1):
                raise BrokenFile("longer than its header says")
    except BrokenFile as error:
        raise DataError(f"cannot read the array {key!r}: {error}") from error
    return result


def read_image_header(archive: SafeZip) -> ArrayHeader:
    """The header of ``x``, checked to be ``(N, H, W)`` or ``(N, H, W, 1 or 3)`` uint8.

    Raises:
        DataError: when it is not, or as :func:`read_header` does.
    """
    header = read_header(archive, "x")
    shape = header.shape
    if header.dtype != np.uint8:
        raise DataError(
            f"expected x of type uint8 with values 0 to 255, got {header.dtype}; "
            "scale and convert it"
        )
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3):
        raise DataError(f"expected x of shape (N, H, W, C), got {shape}; move channels to the end")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise DataError(f"expected x of shape (N, H, W) or (N, H, W, 1 or 3), got {shape}")
    if min(shape) < 1:
        raise DataError(f"expected at least one image, got x of shape {shape}")
    return header


def read_labels(archive: SafeZip, count: int, *, budget: Budget) -> Indices:
    """``y`` as ``(N,)`` int64.

    Raises:
        DataError: when it is missing, not ``count`` integers, or beyond int64.
    """
    header = read_header(archive, "y")
    if header.dtype.kind not in "iu" or header.shape != (count,):
        raise DataError(
            f"expected y of {count} integers, got {header.dtype} of shape {header.shape}"
        )
    labels = read_rows(archive, "y", header, rows=None, budget=budget)
    if header.dtype.kind == "u" and labels.max() > np.iinfo(np.int64).max:
        raise DataError(f"labels do not fit 64 bit integers, got {labels.max()}")
    return labels.astype(np.int64)


def read_class_names(archive: SafeZip, given: Sequence[str] | None, *, budget: Budget) -> ClassMap:
    """The names ``given``, else those of an array ``class_names`` in the file, else none.

    Raises:
        DataError: when that array is not a list of text, or above 1 MiB.
    """
    if "class_names.npy" not in archive.members:
        return ClassMap({}, tuple(given or ()))
    header = read_header(archive, "class_names")
    size = math.prod(header.shape) * header.dtype.itemsize
    if header.dtype.kind != "U" or len(header.shape) != 1 or not 0 < size <= _NAMES_BYTES:
        raise DataError(
            f"expected class_names of shape (classes,) with text of at most {_NAMES_BYTES} bytes, "
            f"got {printable(str(header.dtype)[:40])} of shape {header.shape}"
        )
    stored = read_rows(archive, "class_names", header, rows=None, budget=budget)
    stored = stored.astype(header.dtype.newbyteorder("="))
    if stored.view(np.uint32).max() > sys.maxunicode:  # numpy would fail with a SystemError
        raise DataError("expected class_names of valid Unicode text")
    names = tuple(printable(name) for name in stored.tolist())
    if given is None or tuple(given) == names:
        return ClassMap({}, names)
    return ClassMap({}, tuple(given), ("the class names in the npz file differ from those given",))


def collect_arrays(
    archive: SafeZip,
    header: ArrayHeader,
    rows: Indices,
    *,
    channels: int | None,
    size: int | None,
    budget: Budget,
) -> Collected:
    """Images ``rows`` (ascending) of ``x``, converted as image files are.

    Raises:
        DataError: as :func:`read_rows` does, and when the result would be above ``result_bytes``.
    """
    count, height, width = len(rows), *header.shape[1:3]
    stored = 1 if len(header.shape) == 3 else header.shape[3]
    budget.check_result(count, size or height, size or width, channels or stored)
    pixels = read_rows(archive, "x", header, rows=rows, budget=budget)
    notes: Counter[str] = Counter()
    converted = []
    for array in pixels:
        image, more = convert_pixels(array, channels=channels, size=size)
        converted.append(image)
        notes.update(more)
    kept = list(range(count))
    return Collected(to_images(converted), kept, [], describe_notes(notes, count))


def _take(stream: MemberStream, header: ArrayHeader, rows: Indices | None) -> NDArray:
    if header.fortran_order or rows is None or len(rows) == header.shape[0]:
        data = _read_exactly(stream, math.prod(header.shape) * header.dtype.itemsize)
        order = "F" if header.fortran_order else "C"
        array = np.frombuffer(data, header.dtype).reshape(header.shape, order=order)  # type: ignore[call-overload]
        return array if rows is None else array[rows]
    result = np.empty((len(rows), *header.shape[1:]), header.dtype)
    row_bytes = math.prod(header.shape[1:]) * header.dtype.itemsize
    position = 0
    for index, row in enumerate(rows):
        _skip(stream, int(row - position) * row_bytes)
        result[index] = np.frombuffer(_read_exactly(stream, row_bytes), header.dtype).reshape(
            header.shape[1:]
        )
        position = int(row) + 1
    _skip(stream, (header.shape[0] - position) * row_bytes)
    return result


def _read_exactly(stream: MemberStream, size: int) -> bytearray:
    data = bytearray()
    while len(data) < size:
        block = stream.read(min(size - len(data), MIB))
        if not block:
            raise BrokenFile("shorter than its header says")
        data += block
    return data


def _skip(stream: MemberStream, size: int) -> None:
    while size > 0:
        block = stream.read(min(size, MIB))
        if not block:
            raise BrokenFile("shorter than its header says")
        size -= len(block)
