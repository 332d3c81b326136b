"""CIFAR-10's python batches are read without running what a pickle asks for."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from benchmarks.zoo.cifar_batches import TEST_FILES, TRAIN_FILES, find_batches, read_batches
from rnp_core.errors import DataError
from tests.helpers import pickle_ops as ops
from tests.helpers.hostile_pickles import payloads

COUNT = 4


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 3072), dtype=np.uint8)


def python2_text(value: bytes) -> bytes:
    """What Python 2 writes for ``str``: the official batches consist of them."""
    return b"T" + struct.pack("<i", len(value)) + value


def python2_batch(data: np.ndarray, labels: list[int], extra: bytes = b"") -> bytes:
    """A batch as Python 2 pickled it, protocol 2."""
    kind = b"cnumpy\ndtype\n(" + python2_text(b"u1") + b"K\x00K\x01tR"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t"
    array += python2_text(b"b") + b"tR("
    array += b"K\x01(" + b"K\x04M\x00\x0ct" + kind + b"\x89" + python2_text(data.tobytes()) + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    entries = python2_text(b"data") + array + python2_text(b"labels") + listed + extra
    return b"\x80\x02}(" + entries + b"u."


def write_all(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for name in (*TRAIN_FILES, *TEST_FILES):
        (folder / name).write_bytes(content)
    return folder


def test_a_batch_of_python_2_is_read(tmp_path: Path) -> None:
    write_all(tmp_path, python2_batch(pixels(), [1, 2, 3, 9]))
    x, y = read_batches(tmp_path, TEST_FILES)
    assert np.array_equal(x, pixels().reshape(-1, 3, 32, 32))
    assert y.tolist() == [1, 2, 3, 9]
    assert read_batches(tmp_path, TRAIN_FILES)[0].shape == (5 * COUNT, 3, 32, 32)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_batch_written_again_is_read(protocol: int, tmp_path: Path) -> None:
    content = {"data": pixels(), "labels": [0, 1, 2, 3], "batch_label": "one"}
    write_all(tmp_path, pickle.dumps(content, protocol))
    x, _ = read_batches(tmp_path, TEST_FILES)
    assert np.array_equal(x, pixels().reshape(-1, 3, 32, 32))


def test_the_folder_is_found_with_or_without_its_name(tmp_path: Path) -> None:
    inner = write_all(tmp_path / "cifar-10-batches-py", b"")
    assert find_batches(tmp_path) == find_batches(inner) == inner
    assert find_batches(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("payload", list(payloads(Path("canary"))))
def test_a_hostile_batch_runs_nothing(payload: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    content = payloads(canary)[payload]
    inside = python2_batch(pixels(), [1, 2, 3, 9], extra=python2_text(b"more") + content)
    for name, data in (("alone", ops.stream(content)), ("inside", inside)):
        folder = write_all(tmp_path / name, data)
        try:
            x, _ = read_batches(folder, TEST_FILES)
        except DataError:
            continue
        assert np.array_equal(x, pixels().reshape(-1, 3, 32, 32))
    assert not canary.exists()


def test_a_payload_in_place_of_the_pixels_is_refused(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    call = payloads(canary)["posix.system"]
    write_all(
        tmp_path,
        b"\x80\x02}(" + python2_text(b"data") + call + python2_text(b"labels") + b"]K\x00a" + b"u.",
    )
    with pytest.raises(DataError, match="its data is no array"):
        read_batches(tmp_path, TEST_FILES)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"nothing", "cannot read the CIFAR-10 batch"),
        (pickle.dumps([1]), "it holds no dictionary"),
        (pickle.dumps({"data": 1, "labels": [1]}), "its data is no array"),
        (pickle.dumps({"data": pixels(), "labels": [1]}), "12288 bytes of pixels for 1 labels"),
        (pickle.dumps({"data": pixels(), "labels": "abcd"}), "no list of integers"),
        (pickle.dumps({"data": pixels(), "labels": [0, 1, 2, 10]}), "are not in 0 to 9"),
        (pickle.dumps({"data": pixels().astype("<u2"), "labels": [1]}), "8 bits a value"),
        (pickle.dumps({"data": np.asfortranarray(pixels()), "labels": [1]}), "C order"),
    ],
)
def test_other_content_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    write_all(tmp_path, content)
    with pytest.raises(DataError, match=words):
        read_batches(tmp_path, TEST_FILES)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the CIFAR-10 batch"):
        read_batches(tmp_path, TEST_FILES)
