"""Mutations of files: of their bytes, and of what is inside their containers."""

from __future__ import annotations

import io
import pickletools
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Sequence

from tests.helpers import pickle_ops as ops

_PNG = b"\x89PNG\r\n\x1a\n"
_OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
_NUMBERS = [0, 1, 2, 4, 255, 256, 65535, 1 << 31, 1 << 32, 1 << 40, (1 << 62) - 1, 1 << 63, -1]
_FRAGMENTS = [
    ops.tensor(),
    ops.tensor((1 << 20,), (0,)),
    ops.tensor(legacy=True),
    ops.call("os", "system", ops.text("true")),
    ops.call("collections", "OrderedDict"),
    ops.name("torch.nn.modules.linear", "Linear") + b")\x81}b",
    ops.dictionary({"state_dict": b"}", "_parameters": b"}", "_modules": b"}"}),
    b"(((((((((((",
    b"\x85" * 50,
    b"h\x00h\x01h\x02",
    b"]" * 20 + b"a" * 19,
]


def mutate(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A mutant of ``data``; most containers stay valid around the mutated part."""
    if rng.random() < 0.3:
        return _mutate_bytes(data, others, rng)
    if data.startswith(b"PK"):
        mutant = _mutate_member(data, others, rng)
        return _mutate_bytes(data, others, rng) if mutant is None else mutant
    return _mutate_content(data, others, rng)


def _mutate_content(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Mutated bytes, with the length or checksums that guard them made right again."""
    if data[8:9] == b"{":
        return _mutate_safetensors(data, others, rng)
    mutant = _mutate_bytes(data, others, rng)
    return _with_checksums(mutant) if data.startswith(_PNG) else mutant


def _mutate_safetensors(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    header, tensors = data[8 : 8 + length], data[8 + length :]
    if rng.random() < 0.5:
        numbers = list(re.finditer(rb"\d+", header))
        if numbers:
            found = rng.choice(numbers)
            number = str(rng.choice(_NUMBERS)).encode()
            header = header[: found.start()] + number + header[found.end() :]
    else:
        header = _mutate_bytes(header, others, rng)
    return struct.pack("<Q", len(header)) + header + tensors


def _with_checksums(data: bytes) -> bytes:
    """A PNG file whose chunks have the right CRC, as far as their lengths can be followed."""
    content, at = bytearray(data), len(_PNG)
    while at + 12 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        if end + 4 > len(content):
            break
        content[end : end + 4] = zlib.crc32(content[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(content)


def _mutate_member(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # already mutated beyond reading
        return None
    if not members:
        return None
    pickles = [n for n, (name, _) in enumerate(members) if name.endswith(".pkl")]
    index = rng.choice(pickles) if pickles and rng.random() < 0.8 else rng.randrange(len(members))
    name, content = members[index]
    change = rng.random()
    if change < 0.85:
        members[index] = (name, _mutate_content(content, others, rng))
    elif change < 0.9:
        members.append((name, content))
    elif change < 0.95:
        del members[index]
    else:
        members[index] = (rng.choice(["../x", "archive/data/9", "code/x.py", "x.pkl"]), content)
    buffer = io.BytesIO()
    method = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")
        for member, content in members:
            archive.writestr(member or "nameless", content)
    return buffer.getvalue()


def _mutate_bytes(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    content = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 8])):
        at = rng.randrange(len(content) + 1)
        kind = rng.randrange(9)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(content):
            content[at] = rng.randrange(256)
        elif kind == 2:
            content[at:at] = rng.choice(_OPCODES)
        elif kind == 3:
            del content[at : at + rng.choice([1, 2, 8, 64])]
        elif kind == 4:
            content[at:at] = rng.choice(_FRAGMENTS)
        elif kind == 5:
            content[at:at] = ops.number(rng.choice(_NUMBERS))
        elif kind == 6:
            size = rng.choice([1, 2, 4, 8])
            number = rng.choice(_NUMBERS) % (1 << 8 * size)
            content[at : at + size] = number.to_bytes(size, "little")
        elif kind == 7 and others:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            content[at:at] = other[start : start + rng.choice([4, 16, 64, 256])]
        elif kind == 8:
            content = content[:at]
        if not content:
            break
    return bytes(content)
