"""A small assembler for pickle streams and torch containers, to build hostile files by hand."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
VERSION = b"\x80\x02M\xe9\x03."
SYSTEM = b"\x80\x02}(X\x10\x00\x00\x00protocol_versionM\xe9\x03X\x0d\x00\x00\x00little_endian\x88u."
FOUR_FLOATS = struct.pack("<4f", 1, 2, 3, 4)


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def group(*parts: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(parts) + b"t"


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    return name(module, attribute) + group(*arguments) + b"R"


def dictionary(entries: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def stream(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


def storage(
    key: str = "0", elements: int = 4, kind: str = "FloatStorage", *, legacy: bool
) -> bytes:
    parts = [text("storage"), name("torch", kind), text(key), text("cpu"), number(elements)]
    return group(*parts, *([b"N"] if legacy else [])) + b"Q"


def tensor(
    shape: tuple[int, ...] = (2, 2),
    stride: tuple[int, ...] = (2, 1),
    *,
    offset: int = 0,
    key: str = "0",
    elements: int = 4,
    kind: str = "FloatStorage",
    legacy: bool = False,
) -> bytes:
    return call(
        "torch._utils",
        "_rebuild_tensor_v2",
        storage(key, elements, kind, legacy=legacy),
        number(offset),
        group(*map(number, shape)),
        group(*map(number, stride)),
        b"\x89",
        call("collections", "OrderedDict"),
    )


def network(extra: bytes = b"N", *, legacy: bool = False) -> bytes:
    """A stream with one weight and, beside it, ``extra``."""
    return stream(dictionary({"payload": extra, "fc.weight": tensor(legacy=legacy)}))


def write_zip(
    path: Path,
    pickle_stream: bytes,
    storages: Mapping[str, bytes] | None = None,
    *,
    members: Mapping[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickle_stream)
        archive.writestr("archive/byteorder", b"little")
        for key, data in ({"0": FOUR_FLOATS} if storages is None else storages).items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", b"3\n")
        for member, data in (members or {}).items():
            archive.writestr(member, data)
    return path


def write_legacy(
    path: Path,
    pickle_stream: bytes,
    *,
    magic: bytes = MAGIC,
    system: bytes = SYSTEM,
    keys: bytes | None = None,
    storages: bytes = struct.pack("<q", 4) + FOUR_FLOATS,
) -> Path:
    keys = stream(b"](" + text("0") + b"e") if keys is None else keys
    path.write_bytes(magic + VERSION + system + pickle_stream + keys + storages)
    return path
