"""CIFAR-10's official python batches, read without unpickling them.

The batches are pickles. A pickle can run anything when it is loaded, so the stream goes through
:class:`~rnp_core.checkpoints.pickle_machine.PickleMachine`, which imports and calls nothing; the
pixels are taken from the bytes that it finds.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnp_core.checkpoints.limits import ReadLimits
from rnp_core.checkpoints.pickle_machine import PickleMachine
from rnp_core.checkpoints.records import CallRecord
from rnp_core.checkpoints.trace import Trace
from rnp_core.errors import CheckpointError, DataError

TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILES = ("test_batch",)
CLASS_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_SHAPE = (3, 32, 32)
_BYTES = 64 << 20  # a batch has 31 MB
_RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")


def find_batches(folder: Path) -> Path | None:
    """``folder`` or its ``cifar-10-batches-py``, whichever holds the batches; else None."""
    for place in (folder, folder / "cifar-10-batches-py"):
        if all((place / name).is_file() for name in (*TRAIN_FILES, *TEST_FILES)):
            return place
    return None


def read_batches(folder: Path, files: tuple[str, ...]) -> tuple[NDArray, NDArray]:
    """Images ``(N, 3, 32, 32)`` uint8 and labels ``(N,)`` int64 of several batches, in order.

    Raises:
        DataError: when a file is not one of the official batches.
    """
    parts = [_read_batch(folder / name) for name in files]
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def _read_batch(path: Path) -> tuple[NDArray, NDArray]:
    try:
        size = path.stat().st_size
        if size > _BYTES:
            raise DataError(f"expected a CIFAR-10 batch of at most {_BYTES} bytes, got {size}")
        machine = PickleMachine(
            io.BytesIO(path.read_bytes()),
            limits=ReadLimits(pickle_bytes=_BYTES, string_bytes=_BYTES, pickle_steps=200_000),
            trace=Trace(),
        )
        content = machine.load()
    except (OSError, CheckpointError) as error:
        raise DataError(f"cannot read the CIFAR-10 batch {path}: {error}") from error
    if not isinstance(content, dict):
        raise _unexpected(path, "it holds no dictionary")
    content = {_text(key): value for key, value in content.items()}
    pixels = _array_bytes(content.get("data"), path)
    labels = content.get("labels")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise _unexpected(path, "its labels are no list of integers")
    if len(pixels) != len(labels) * 3072 or not labels:
        raise _unexpected(path, f"{len(pixels)} bytes of pixels for {len(labels)} labels")
    if min(labels) < 0 or max(labels) > 9:
        raise _unexpected(path, "its labels are not in 0 to 9")
    images = np.frombuffer(pixels, np.uint8).reshape(-1, *_SHAPE)
    return images, np.array(labels, np.int64)


def _array_bytes(value: Any, path: Path) -> bytes:
    """The bytes of a pickled uint8 array in C order."""
    if not isinstance(value, CallRecord) or value.class_name not in _RECONSTRUCT:
        raise _unexpected(path, "its data is no array")
    state = value.state
    if not isinstance(state, tuple) or len(state) != 5 or state[3]:
        raise _unexpected(path, "its data is no array in C order")
    kind = state[2].args[0] if isinstance(state[2], CallRecord) and state[2].args else None
    if _text(kind) != "u1":
        raise _unexpected(path, "its data does not have 8 bits a value")
    return _raw(state[4], path)


def _raw(value: Any, path: Path) -> bytes:
    """Bytes as Python 2 (text), Python 3 (bytes) or its protocol 2 (text to encode) wrote them."""
    if isinstance(value, CallRecord) and value.class_name == "_codecs.encode" and value.args:
        value = value.args[0]
    try:
        return value if isinstance(value, bytes) else value.encode("latin-1")
    except (AttributeError, UnicodeEncodeError) as error:
        raise _unexpected(path, "its data holds no bytes") from error


def _text(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _unexpected(path: Path, reason: str) -> DataError:
    return DataError(
        f"expected a batch of CIFAR-10's python version in {path}, but {reason}; unpack "
        "cifar-10-python.tar.gz again"
    )
