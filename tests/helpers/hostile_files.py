"""Hostile checkpoints whose container, format or place in the file system is the attack."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import stat
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.helpers import pickle_ops as ops
from tests.helpers.hostile_pickles import (
    Build,
    executing,
    exhausting,
    joblib_like,
    payloads,
    plain_pickle,
    tensors,
)


def corpus() -> dict[str, Build]:
    """Every hostile checkpoint by name."""
    groups = (executing(), exhausting(), tensors(), _archives(), _formats(), _places())
    return {name: build for group in groups for name, build in group}


def _archives() -> Iterator[tuple[str, Build]]:
    yield "broken CRC of the pickle", _broken_crc(b"payload")
    yield "broken CRC of a storage", _broken_crc(ops.FOUR_FLOATS)
    yield "local and central names differ", _renamed_local_header
    yield "two members named data.pkl", _duplicate
    yield "names that differ in case only", _members({"archive/DATA.PKL": b"N."})
    yield "two folders with a data.pkl", _members({"other/data.pkl": ops.network()})
    yield "a second hidden pickle", _hidden_pickle
    yield "a hidden Python file", _members({"archive/code.py": b"import os"})
    yield "member names that climb out", _members({"../../../tmp/evil.py": b"x"})
    yield "absolute member names", _members({"/etc/cron.d/evil": b"x"})
    yield "bytes before the archive", _prepended
    yield "a pickle stream of 64 MiB in 64 KiB", _pickle_bomb
    yield "a storage of 64 MiB in 64 KiB", _storage_bomb
    yield "60 storages, each just below the ratio of a bomb", _many_bombs
    yield "a directory of a million members", _endless_directory
    yield "overlapping members", _overlapping
    yield "a member that the directory does not list", _unlisted
    yield "an archive in the comment of another", _in_comment
    yield "a member that is a symbolic link", _link_member
    yield "sizes of 1 TiB in a zip64 field", _zip64
    yield "a size that is a lie", _lying_size
    yield "an encrypted member", _encrypted
    yield (
        "an unusual compression method",
        lambda folder, canary: ops.write_zip(
            folder / "model.pth", ops.network(), compression=zipfile.ZIP_LZMA
        ),
    )
    yield "a directory cut off", _truncated_zip
    yield "big-endian storages", _big_endian
    yield "a member without a name", _nameless


def _members(extra: dict[str, bytes]) -> Build:
    def build(folder: Path, canary: Path) -> Path:
        return ops.write_zip(folder / "model.pth", ops.network(), members=extra)

    return build


def _broken_crc(part: bytes) -> Build:
    def build(folder: Path, canary: Path) -> Path:
        path = ops.write_zip(folder / "model.pth", ops.network(payloads(canary)["posix.system"]))
        data = bytearray(path.read_bytes())
        at = data.index(part)
        data[at] ^= 0x20
        path.write_bytes(bytes(data))
        return path

    return build


def _renamed_local_header(folder: Path, canary: Path) -> Path:
    path = ops.write_zip(folder / "model.pth", ops.network(payloads(canary)["posix.system"]))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"archive/data.pkl", b"archive/data.txt", 1))
    return path


def _duplicate(folder: Path, canary: Path) -> Path:
    evil = ops.network(payloads(canary)["posix.system"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ops.write_zip(
            folder / "model.pth", ops.network(), members={"archive/data.pkl": evil}
        )


def _hidden_pickle(folder: Path, canary: Path) -> Path:
    evil = ops.network(payloads(canary)["posix.system"])
    return ops.write_zip(folder / "model.pth", ops.network(), members={"archive/x.pkl": evil})


def _prepended(folder: Path, canary: Path) -> Path:
    path = ops.write_zip(folder / "model.pth", ops.network())
    evil = ops.stream(payloads(canary)["posix.system"])
    path.write_bytes(evil + path.read_bytes())
    return path


def _pickle_bomb(folder: Path, canary: Path) -> Path:
    path = folder / "model.pth"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("archive/data.pkl", "w") as stream,
    ):
        for _ in range(64):
            stream.write(bytes(1 << 20))
    return path


def _storage_bomb(folder: Path, canary: Path) -> Path:
    elements = 1 << 24
    body = ops.stream(ops.dictionary({"w": ops.tensor((elements,), (1,), elements=elements)}))
    path = folder / "model.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", body)
        with archive.open("archive/data/0", "w") as stream:
            for _ in range(64):
                stream.write(bytes(1 << 20))
    return path


def _many_bombs(folder: Path, canary: Path) -> Path:
    path = ops.write_zip(folder / "model.pth", ops.network())
    data = random.Random(0).randbytes(60_000) + bytes(10 << 20)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for number in range(1, 61):
            archive.writestr(f"archive/data/{number}", data)
    return path


def _endless_directory(folder: Path, canary: Path) -> Path:
    """46 MB on disk, and more than 500 MiB once zipfile has read it."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 0, 20, *(0,) * 15)
    length = len(entry) * 1_000_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, length, 4, 0)
    path = folder / "model.pth"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        for _ in range(1000):
            file.write(entry * 1000)
        file.write(end)
    return path


def _unlisted(folder: Path, canary: Path) -> Path:
    path = folder / "model.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", ops.network())
        archive.writestr("archive/x.pkl", ops.network(payloads(canary)["posix.system"]))
        archive.writestr("archive/data/0", ops.FOUR_FLOATS)
        del archive.filelist[1]
    return path


def _in_comment(folder: Path, canary: Path) -> Path:
    """Programs that look for the first end record read another archive than those for the last."""
    path = ops.write_zip(folder / "model.pth", ops.network())
    evil = ops.write_zip(folder / "evil.pth", ops.network(payloads(canary)["posix.system"]))
    data, inner = path.read_bytes(), evil.read_bytes()
    path.write_bytes(data[:-2] + struct.pack("<H", len(inner)) + inner)
    return path


def _link_member(folder: Path, canary: Path) -> Path:
    path = ops.write_zip(folder / "model.pth", ops.network())
    info = zipfile.ZipInfo("archive/data/1")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    return path


def _zip64(folder: Path, canary: Path) -> Path:
    path = ops.write_zip(folder / "model.pth", ops.network(), members={"archive/data/1": b""})
    field = struct.pack("<HHQQ", 1, 16, 1 << 40, 1 << 40)
    data = bytearray(path.read_bytes())
    end = data.rindex(b"PK\x05\x06")
    entry = data.rindex(b"PK\x01\x02")
    (size,) = struct.unpack("<I", data[end + 12 : end + 16])
    data[end + 12 : end + 16] = struct.pack("<I", size + len(field))
    data[entry + 20 : entry + 28] = b"\xff" * 8
    data[entry + 30 : entry + 32] = struct.pack("<H", len(field))
    data[end:end] = field
    path.write_bytes(bytes(data))
    return path


def _edit_directory(path: Path, member: bytes, edit: Callable[[bytearray, int], None]) -> Path:
    """Change the central directory entry of ``member``; ``edit`` gets the data and its offset."""
    data = bytearray(path.read_bytes())
    at = data.index(member, data.index(b"PK\x01\x02")) - 46
    edit(data, at)
    path.write_bytes(bytes(data))
    return path


def _overlapping(folder: Path, canary: Path) -> Path:
    """Both storages point at the same bytes."""
    path = ops.write_zip(
        folder / "model.pth", ops.network(), {"0": ops.FOUR_FLOATS, "1": ops.FOUR_FLOATS}
    )
    data = path.read_bytes()
    first = data.index(b"archive/data/0") - 30

    def edit(content: bytearray, at: int) -> None:
        content[at + 42 : at + 46] = struct.pack("<I", first)

    return _edit_directory(path, b"archive/data/1", edit)


def _lying_size(folder: Path, canary: Path) -> Path:
    path = ops.write_zip(folder / "model.pth", ops.network(), compression=zipfile.ZIP_DEFLATED)

    def edit(content: bytearray, at: int) -> None:
        content[at + 24 : at + 28] = struct.pack("<I", 1 << 30)

    return _edit_directory(path, b"archive/data/0", edit)


def _encrypted(folder: Path, canary: Path) -> Path:
    path = ops.write_zip(folder / "model.pth", ops.network())

    def edit(content: bytearray, at: int) -> None:
        content[at + 8] |= 1

    return _edit_directory(path, b"archive/data.pkl", edit)


def _truncated_zip(folder: Path, canary: Path) -> Path:
    path = ops.write_zip(folder / "model.pth", ops.network())
    path.write_bytes(path.read_bytes()[:-30])
    return path


def _big_endian(folder: Path, canary: Path) -> Path:
    path = folder / "model.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", ops.network())
        archive.writestr("archive/byteorder", b"big")
        archive.writestr("archive/data/0", ops.FOUR_FLOATS)
    return path


def _nameless(folder: Path, canary: Path) -> Path:
    path = ops.write_zip(folder / "model.pth", ops.network(), members={"x": b""})
    path.write_bytes(_null(path.read_bytes()))
    return path


def _null(data: bytes) -> bytes:
    """Both names of the member ``x``, which is the last one, become a null byte."""
    local = data.rindex(b"PK\x03\x04") + 30
    central = data.rindex(b"PK\x01\x02") + 46
    content = bytearray(data)
    content[local] = content[central] = 0
    return bytes(content)


def _formats() -> Iterator[tuple[str, Build]]:
    yield "a plain pickle with a payload", plain_pickle
    yield "a joblib-like pickle", joblib_like
    yield (
        "TorchScript",
        _named_zip(
            "model.pt",
            {"archive/constants.pkl": b"\x80\x02).", "archive/code/__torch__.py": b"pass"},
        ),
    )
    yield "torch.export archive with a pickled payload", _exported
    yield (
        "Keras archive",
        _named_zip(
            "model.keras", {"metadata.json": b"{}", "config.json": b"{}", "model.weights.h5": b"x"}
        ),
    )
    yield "a zip of something else", _named_zip("model.pt", {"readme.txt": b"hello"})
    yield "HDF5", _bytes("model.h5", b"\x89HDF\r\n\x1a\n" + bytes(100))
    yield "ONNX", _bytes("model.onnx", b"\x08\x08\x12\x07pytorch\x1a\x052.0.0" + bytes(50))
    yield "GGUF", _bytes("model.gguf", b"GGUF\x03\0\0\0" + bytes(50))
    yield "gzip", _bytes("model.pth.gz", gzip.compress(bytes(1000)))
    yield "a tar archive of PyTorch 0.1", _old_tar
    yield "random bytes", _bytes("model.pth", bytes(range(256)) * 8)
    yield "an empty file", _bytes("model.pth", b"")
    yield "HTML instead of a download", _bytes("model.pth", b"<!DOCTYPE html><title>404</title>")
    yield (
        "a Git LFS pointer",
        _bytes("model.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
    )
    yield from _safetensors()


def _safetensors() -> Iterator[tuple[str, Build]]:
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    yield (
        "safetensors: header of 2**60 bytes",
        _bytes("model.safetensors", struct.pack("<Q", 1 << 60) + b"{" + bytes(100)),
    )
    yield "safetensors: overlapping tensors", _header({"a": entry, "b": entry})
    yield "safetensors: a hole", _header({"a": {**entry, "data_offsets": [8, 24]}}, 24)
    yield "safetensors: bytes that no tensor covers", _header({"a": entry}, 64)
    yield "safetensors: a tensor of 4 TB", _header({"a": {**entry, "shape": [10**12]}})
    yield "safetensors: a negative size", _header({"a": {**entry, "shape": [-4]}})
    yield "safetensors: an unknown type", _header({"a": {**entry, "dtype": "Q4"}})
    yield (
        "safetensors: float8 weights",
        _header({"a": {"dtype": "F8_E4M3", "shape": [4, 4], "data_offsets": [0, 16]}}),
    )
    raw = json.dumps(entry)
    yield "safetensors: one name twice", _raw_header(f'{{"a": {raw}, "a": {raw}}}'.encode())
    yield (
        "safetensors: an empty tensor whose other sizes overflow 64 bits",
        _header({"a": entry, "b": {**entry, "shape": [0, 1 << 61, 4], "data_offsets": [0, 0]}}),
    )
    yield "safetensors: a JSON bomb of 9 MiB", _raw_header(b'{"a": [' + b"{}," * (3 << 20))
    yield "safetensors: a number of 4 million digits", _raw_header(b'{"a": ' + b"9" * (4 << 20))
    yield "safetensors: deeply nested JSON", _raw_header(b'{"a": ' + b"[" * 100_000)
    yield "safetensors: invalid UTF-8", _raw_header(b'{"\xff": 1}')


def _header(header: dict[str, object], size: int = 16) -> Build:
    return _raw_header(json.dumps(header).encode(), size)


def _raw_header(header: bytes, size: int = 16) -> Build:
    return _bytes("model.safetensors", struct.pack("<Q", len(header)) + header + bytes(size))


def _bytes(name: str, data: bytes) -> Build:
    def build(folder: Path, canary: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return build


def _named_zip(name: str, members: dict[str, bytes]) -> Build:
    def build(folder: Path, canary: Path) -> Path:
        with zipfile.ZipFile(folder / name, "w") as archive:
            for member, data in members.items():
                archive.writestr(member, data)
        return folder / name

    return build


def _exported(folder: Path, canary: Path) -> Path:
    evil = ops.stream(payloads(canary)["posix.system"])
    members = {
        "m/archive_format": b"pt2",
        "m/models/model.json": b"{}",
        "m/data/constants/model_constants_config.json": b"{}",
        "m/data/sample_inputs/model.pt": evil,
    }
    return _named_zip("model.pt2", members)(folder, canary)


def _old_tar(folder: Path, canary: Path) -> Path:
    path = folder / "model.pth"
    with tarfile.open(path, "w") as archive:
        data = ops.stream(payloads(canary)["posix.system"])
        for name in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _places() -> Iterator[tuple[str, Build]]:
    yield "a FIFO", _fifo
    yield "an endless device", lambda folder, canary: Path("/dev/zero")
    yield "a missing file", lambda folder, canary: folder / "missing.pth"
    yield "a path with a null byte", lambda folder, canary: folder / "a\0b.pth"
    yield "a link to itself", _loop
    yield "an empty folder", lambda folder, canary: folder
    yield "a folder whose model.pt is a link to outside", _leaving_link
    yield "a folder with two checkpoints", _two
    yield "a folder with deeply nested config.json", _deep_config
    yield "a folder with a sharded checkpoint", _sharded
    yield (
        "one shard",
        lambda folder, canary: ops.write_zip(
            folder / "pytorch_model-00001-of-00002.bin", ops.network()
        ),
    )


def _fifo(folder: Path, canary: Path) -> Path:
    os.mkfifo(folder / "model.pth")
    return folder / "model.pth"


def _loop(folder: Path, canary: Path) -> Path:
    (folder / "model.pth").symlink_to(folder / "model.pth")
    return folder / "model.pth"


def _leaving_link(folder: Path, canary: Path) -> Path:
    inner = folder / "round"
    inner.mkdir()
    target = ops.write_zip(folder / "secret.pth", ops.network())
    (inner / "model.pt").symlink_to(target)
    return inner


def _two(folder: Path, canary: Path) -> Path:
    ops.write_zip(folder / "a.pth", ops.network())
    ops.write_zip(folder / "b.pth", ops.network())
    return folder


def _deep_config(folder: Path, canary: Path) -> Path:
    ops.write_zip(folder / "model.pt", ops.network())
    (folder / "config.json").write_bytes(b"[" * 200_000)
    return folder


def _sharded(folder: Path, canary: Path) -> Path:
    ops.write_zip(folder / "pytorch_model-00001-of-00002.bin", ops.network())
    (folder / "pytorch_model.bin.index.json").write_text("{}")
    return folder
