"""The structure of image files, bounded before Pillow walks it.

Pillow reads headers and metadata in Python, a marker, block or byte at a time. A few megabytes of
padding, or a table of overlapping entries, then cost minutes or gigabytes for an image of any size.
"""

from __future__ import annotations

import re
import struct

from rnp_core.images.result import BrokenFile

BLOCKS = 10_000  # PNG and WebP chunks, JPEG segments before the first scan
GIF_BLOCKS = 200_000  # data blocks of at most 255 bytes: enough for about 50 MB
FILLER_BYTES = 4096  # bytes between JPEG segments or GIF blocks
METADATA_BYTES = 8 << 20  # before the first JPEG scan, or declared by one TIFF or EXIF directory
STRIPS = 20_000  # strips or tiles of a TIFF file
PPM_HEADER_BYTES = 2048
PPM_COMMENTS = 1000  # in a plain text file

_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_VALUE_BYTES |= {16: 8}
_BARE_MARKERS = frozenset((0x00, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)))
_START_OF_SCAN, _APP1 = 0xDA, 0xE1


def check_structure(kind: str, data: bytes) -> None:
    """Check that opening a file costs no more than an ordinary one of its size.

    Args:
        kind: a Pillow format name; BMP has nothing to check.
        data: the whole file.

    Raises:
        BrokenFile: when one of the limits above is passed, with the reason.
    """
    if kind == "PNG":
        _check_exif(_chunks(data, start=8, kind=kind, wanted=b"eXIf"))
    elif kind == "WEBP":
        _check_exif(_chunks(data, start=12, kind=kind, wanted=b"EXIF"))
    elif kind == "JPEG":
        _check_exif(_exif_of_jpeg(data))
    elif kind == "TIFF":
        _check_directory(data)
    elif kind == "GIF":
        _check_gif(data)
    elif kind == "PPM":
        _check_ppm(data)


def _chunks(data: bytes, *, start: int, kind: str, wanted: bytes) -> bytes:
    """The last chunk of type ``wanted``, or nothing, after counting all of them."""
    found, position, count = b"", start, 0
    while position + 8 <= len(data):
        count += 1
        if count > BLOCKS:
            raise BrokenFile(f"more than {BLOCKS} {kind} chunks")
        if kind == "PNG":  # length, type, content, checksum
            length, name = struct.unpack_from(">L4s", data, position)
            after = position + 12 + length
        else:  # type, length, content, padding to an even length
            name, length = struct.unpack_from("<4sL", data, position)
            after = position + 8 + length + length % 2
        if name == wanted:
            found = data[position + 8 : position + 8 + length]
        position = after
    return found


def _exif_of_jpeg(data: bytes) -> bytes:
    """The EXIF block, after walking the segments up to the first scan."""
    exif, position, filler, segments = [], 2, 0, 0
    if b"\xff" * FILLER_BYTES in data:  # the decoder would start over with each block it is fed
        raise BrokenFile(f"more than {FILLER_BYTES} fill bytes in a JPEG file")
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF or marker == 0xFF or marker in _BARE_MARKERS:
            filler += 1
            position += 1
            if filler > FILLER_BYTES:
                raise BrokenFile(f"more than {FILLER_BYTES} bytes between JPEG segments")
            continue
        if marker == _START_OF_SCAN:
            break
        segments += 1
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        content = data[position + 4 : position + 2 + length]
        if marker == _APP1 and content.startswith(b"Exif\0"):
            exif.append(content[6:])
        position += 2 + max(length, 2)
        if segments > BLOCKS or position > METADATA_BYTES:
            raise BrokenFile(
                f"more than {BLOCKS} segments or {METADATA_BYTES} bytes before the first JPEG scan"
            )
    return b"".join(exif)


def _check_exif(block: bytes) -> None:
    _check_directory(re.sub(rb"\A(?:Exif\0\0)+", b"", block))


def _check_directory(data: bytes) -> None:
    """Check the first directory of a TIFF file or EXIF block; other content is left to Pillow."""
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        return
    (start,) = struct.unpack_from(f"{order}L", data, 4)
    if start + 2 > len(data):
        return
    (entries,) = struct.unpack_from(f"{order}H", data, start)
    total = 0
    for position in range(start + 2, min(start + 2 + 12 * entries, len(data) - 11), 12):
        value_type, count = struct.unpack_from(f"{order}HL", data, position + 2)
        value_bytes = _VALUE_BYTES.get(value_type, 1)
        total += count * value_bytes
        if value_bytes > 1 and count > STRIPS:
            raise BrokenFile(f"more than {STRIPS} values of one TIFF tag, such as strips")
    if total > METADATA_BYTES:
        raise BrokenFile(f"metadata of more than {METADATA_BYTES} bytes declared in a directory")


def _check_gif(data: bytes) -> None:
    """Count the data blocks of all frames and extensions, and the bytes between them."""
    if len(data) < 13:
        return
    position, blocks, filler = 13 + _table_bytes(data[10]), 0, 0
    while position + 10 < len(data):
        start = data[position]
        if start == 0x3B:  # end of the file
            return
        if start == 0x21:  # extension: label, data blocks
            position += 2
        elif start == 0x2C:  # frame: place, size, colour table, code size, data blocks
            position += 11 + _table_bytes(data[position + 9])
        else:
            position += 1
            filler += 1
            if filler > FILLER_BYTES:
                raise BrokenFile(f"more than {FILLER_BYTES} bytes between GIF blocks")
            continue
        size = 1
        while size and position < len(data):
            size = data[position]
            position += 1 + size
            blocks += 1
            if blocks > GIF_BLOCKS:
                raise BrokenFile(f"more than {GIF_BLOCKS} GIF data blocks")


def _table_bytes(flags: int) -> int:
    """Size of the colour table that a GIF screen or frame declares."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _check_ppm(data: bytes) -> None:
    head = re.sub(rb"#[^\r\n]*[\r\n]?", b"", data[:PPM_HEADER_BYTES])
    numbers = 3 if data[:2] in (b"P1", b"P4") else 4  # magic, width, height, largest value
    if len(head.split(maxsplit=numbers)) < numbers and len(data) > PPM_HEADER_BYTES:
        raise BrokenFile(f"a PPM header of more than {PPM_HEADER_BYTES} bytes")
    if data[:2] in (b"P1", b"P2", b"P3") and data.count(b"#") > PPM_COMMENTS:
        raise BrokenFile(f"more than {PPM_COMMENTS} comments in a plain text PPM file")
