"""Small image files and archives, built in memory."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]


def encode(pixels: Array | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """An image file of an array or a Pillow image."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def random_pixels(seed: int, *shape: int) -> Array:
    """Uniform uint8 values."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def good_members(per_class: int = 15, side: int = 8) -> dict[str, bytes]:
    """PNG files of two classes, ``cat`` and ``dog``."""
    return {
        f"{name}/{index:02d}.png": encode(random_pixels(100 * offset + index, side, side, 3))
        for offset, name in enumerate(("cat", "dog"))
        for index in range(per_class)
    }


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """An archive of ``members``."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_folder(path: Path, members: dict[str, bytes]) -> Path:
    """A folder of ``members``."""
    for name, data in members.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *chunks: bytes, rows: bytes = b"") -> bytes:
    """A grey 8 bit PNG with any header, further chunks and image data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = (png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", rows), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)
