"""Image files of 8x8 pixels that are cheap to send and were dear to open."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from tests.rnp_core.images.pictures import encode, png_chunk, png_of, random_pixels

MIB = 1 << 20
_ROWS = zlib.compress(bytes(9 * 8))
_GIF_SCREEN = b"GIF89a" + struct.pack("<2H3B", 8, 8, 0x80, 0, 0) + bytes(6)
_GIF_FRAME = b"," + struct.pack("<4HB", 0, 0, 8, 8, 0) + b"\x02\x02\x4c\x01\0"


def tiff(content: bytes, entries: Sequence[tuple[int, int, int, int]]) -> bytes:
    """A TIFF file: ``content`` at byte 8, then a directory of (tag, type, count, value)."""
    directory = b"".join(struct.pack("<HHLL", *entry) for entry in sorted(entries))
    start = struct.pack("<L", 8 + len(content))
    return b"II*\0" + start + content + struct.pack("<H", len(entries)) + directory + bytes(4)


def tiff_of_strips(count: int) -> bytes:
    """A grey TIFF that lists ``count`` strips."""
    plain = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 4, 1, 8), (259, 4, 1, 1), (262, 4, 1, 1)]
    lists = [(273, 4, count, 8), (278, 4, 1, 1), (279, 4, count, 8)]
    return tiff(bytes(4 * max(count, 64)), [*plain, *lists])


def exif(entries: int, size: int) -> bytes:
    """An EXIF block whose entries all name the same ``size`` bytes."""
    return tiff(bytes(size), [(1000 + index, 7, size, 8) for index in range(entries)])


def png_with_exif(block: bytes) -> bytes:
    return png_of(8, 8, png_chunk(b"eXIf", block), rows=_ROWS)


def webp_with_exif(block: bytes) -> bytes:
    return encode(random_pixels(1, 8, 8, 3), "WEBP", exif=b"Exif\0\0" + block)


def jpeg_with_exif(block: bytes) -> bytes:
    return encode(random_pixels(1, 8, 8, 3), "JPEG", exif=b"Exif\0\0" + block)


def png_of_chunks(count: int) -> bytes:
    return png_of(8, 8, png_chunk(b"IDAT", b"") * count, rows=_ROWS)


def jpeg_with(inserted: bytes) -> bytes:
    """A JPEG file with bytes between its first two markers."""
    data = encode(random_pixels(1, 8, 8, 3), "JPEG")
    return data[:2] + inserted + data[2:]


def jpeg_ending_in(inserted: bytes) -> bytes:
    """A JPEG file with bytes before its end marker."""
    data = encode(random_pixels(1, 8, 8, 3), "JPEG")
    return data[:-2] + inserted + data[-2:]


def jpeg_segment(content: bytes, marker: int = 0xE1) -> bytes:
    return struct.pack(">2BH", 0xFF, marker, len(content) + 2) + content


def gif_of_blocks(count: int) -> bytes:
    """A GIF file with one comment of ``count`` blocks of one byte."""
    return _GIF_SCREEN + b"\x21\xfe" + b"\x01a" * count + b"\0" + _GIF_FRAME + b";"


def gif_with_junk(count: int) -> bytes:
    return _GIF_SCREEN + b"\x11" * count + _GIF_FRAME + b";"


def webp_of_chunks(count: int) -> bytes:
    return webp_with_exif(exif(0, 0)) + b"abcd\0\0\0\0" * count
