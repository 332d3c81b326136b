"""Arrays, numbers and pictures out of pickle records, by our own code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnp_core.checkpoints.records import CallRecord

_DTYPES = frozenset(("b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"))
_RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_SCALAR = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_PICTURE_CHANNELS = {"RGB": 3, "L": 1}


def array(value: Any) -> np.ndarray | None:
    """The array that a record of numpy's ``_reconstruct`` describes, or None."""
    if not isinstance(value, CallRecord) or value.class_name not in _RECONSTRUCT:
        return None
    if not isinstance(value.state, tuple) or len(value.state) != 5:
        return None
    _, shape, kind, fortran, data = value.state
    dtype, raw = _dtype(kind), _raw(data)
    if dtype is None or raw is None or not isinstance(shape, tuple) or len(shape) > 8:
        return None
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in shape):
        return None
    if not raw or math.prod(shape) * dtype.itemsize != len(raw):
        return None
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran is True else "C")


def whole_number(value: Any) -> int | None:
    """An integer, also one that is a record of a numpy scalar, or None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < 1 << 62 else None
    if not isinstance(value, CallRecord) or value.class_name not in _SCALAR:
        return None
    if len(value.args) != 2:
        return None
    dtype, raw = _dtype(value.args[0]), _raw(value.args[1])
    if dtype is None or raw is None or dtype.kind not in "iu" or len(raw) != dtype.itemsize:
        return None
    return int(np.frombuffer(raw, dtype)[0])


def picture(value: Any) -> np.ndarray | None:
    """``(H, W, C)`` uint8 of a record of an RGB or grey ``PIL.Image.Image``, or None."""
    if not isinstance(value, CallRecord) or value.class_name != "PIL.Image.Image":
        return None
    state = value.state
    if not isinstance(state, (list, tuple)) or len(state) != 5:
        return None
    _, mode, size, _, data = state
    raw = _raw(data)
    channels = _PICTURE_CHANNELS.get(mode) if isinstance(mode, str) else None
    if channels is None or raw is None or not isinstance(size, tuple) or len(size) != 2:
        return None
    width, height = whole_number(size[0]), whole_number(size[1])
    if not width or not height or width < 0 or width * height * channels != len(raw):
        return None
    return np.frombuffer(raw, np.uint8).reshape(height, width, channels)


def mapping(value: Any) -> Mapping[Any, Any]:
    """``value`` when it is a map, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _dtype(value: Any) -> np.dtype[Any] | None:
    if not isinstance(value, CallRecord) or value.class_name != "numpy.dtype" or not value.args:
        return None
    name = value.args[0]
    order = value.state[1] if isinstance(value.state, tuple) and len(value.state) > 1 else "|"
    if not isinstance(name, str) or name not in _DTYPES or order not in ("<", "|", ">", "="):
        return None
    return np.dtype((">" if order == ">" else "<") + name)


def _raw(value: Any) -> bytes | None:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, CallRecord) or value.class_name != "_codecs.encode":
        return None
    if len(value.args) != 2 or not isinstance(value.args[0], str) or value.args[1] != "latin1":
        return None
    try:
        return value.args[0].encode("latin1")
    except UnicodeEncodeError:
        return None
