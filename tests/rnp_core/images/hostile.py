"""Hostile image sources, one builder each, and what must come of them."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.rnp_core.images import padded
from tests.rnp_core.images.pictures import (
    encode,
    good_members,
    png_chunk,
    png_of,
    random_pixels,
    write_folder,
    write_zip,
)

MIB = 1 << 20
REFUSED, READ = "refused", "read without it"


@dataclass(frozen=True)
class Case:
    """A hostile source.

    Attributes:
        name: what is hostile about it.
        outcome: ``REFUSED``, or ``READ`` when the good images come out without the hostile part.
        words: part of the error, or of the warnings; empty when nothing need be said.
        build: writes it below a folder and returns its path.
    """

    name: str
    outcome: str
    words: str
    build: Callable[[Path], Path]


def _with(name: str, data: bytes) -> Callable[[Path], Path]:
    """30 good images in an archive and one more member."""
    return lambda folder: write_zip(folder / "a.zip", {**good_members(), name: data})


def _instead(data: bytes) -> Callable[[Path], Path]:
    """The same hostile image 30 times."""
    return lambda folder: write_zip(folder / "a.zip", dict.fromkeys(good_members(), data))


def _beside(name: str, data: bytes) -> Callable[[Path], Path]:
    """A folder of 30 good images and one more file."""
    return lambda folder: write_folder(folder / "data", {**good_members(), name: data})


def _link_member(folder: Path) -> Path:
    path = write_zip(folder / "a.zip", good_members())
    info = zipfile.ZipInfo("cat/link.png")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    return path


def _patched(old: bytes, new: bytes, count: int = -1) -> Callable[[Path], Path]:
    """A good archive with bytes replaced, in the directory and the local headers."""

    def build(folder: Path) -> Path:
        path = write_zip(folder / "a.zip", good_members())
        path.write_bytes(path.read_bytes().replace(old, new, count))
        return path

    return build


def _encrypted(folder: Path) -> Path:
    path = write_zip(folder / "a.zip", good_members())
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)
    return path


def _duplicates(folder: Path) -> Path:
    path = folder / "a.zip"
    members = [*good_members().items(), ("cat/01.png", encode(random_pixels(9, 8, 8, 3)))]
    with zipfile.ZipFile(path, "w") as archive:
        names = [name if n < 30 else "cat/0X.png" for n, (name, _) in enumerate(members)]
        for name, (_, data) in zip(names, members, strict=True):
            archive.writestr(name, data)
    path.write_bytes(path.read_bytes().replace(b"cat/0X.png", b"cat/01.png"))
    return path


def _overlap(folder: Path) -> Path:
    """Two directory entries that share the data of one member."""
    path = write_zip(folder / "a.zip", good_members())
    data = bytearray(path.read_bytes())
    first = data.find(b"PK\x01\x02")
    second = data.find(b"PK\x01\x02", first + 1)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    path.write_bytes(data)
    return path


def _directory(count: int) -> Callable[[Path], Path]:
    """An archive that is only a directory of ``count`` entries."""

    def build(folder: Path) -> Path:
        entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 0, 20, *(0,) * 15)
        directory = entry * count
        end = struct.pack(
            "<4s4H2LH", b"PK\x05\x06", 0, 0, count & 0xFFFF, count & 0xFFFF, len(directory), 0, 0
        )
        path = folder / "a.zip"
        path.write_bytes(directory + end)
        return path

    return build


def _large(folder: Path) -> Path:
    members = {**good_members(), "cat/r.png": bytes(33 * MIB)}
    return write_zip(folder / "a.zip", members, zipfile.ZIP_STORED)


def _huge_directory(folder: Path) -> Path:
    path = folder / "a.zip"
    path.write_bytes(b"PK" * 50 + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, 4 << 28, 0, 0))
    return path


def _short_header(folder: Path) -> Path:
    """A member that is longer than the directory says."""
    path = _with("cat/long.png", encode(random_pixels(1, 64, 64, 3)))(folder)
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<L", 500)
    path.write_bytes(data)
    return path


def _other_name(folder: Path) -> Path:
    """A local header with another name than the directory."""
    path = write_zip(folder / "a.zip", good_members())
    path.write_bytes(path.read_bytes().replace(b"cat/03.png", b"cat/zz.png", 1))
    return path


def _damaged(folder: Path) -> Path:
    path = _with("cat/x.png", random_pixels(2, 5000).tobytes())(folder)
    data = bytearray(path.read_bytes())
    data[data.find(b"cat/x.png") + 100] ^= 0xFF
    path.write_bytes(data)
    return path


def _truncated_archive(folder: Path) -> Path:
    path = write_zip(folder / "a.zip", good_members())
    path.write_bytes(path.read_bytes()[:-200])
    return path


def _zip_quine_like(folder: Path) -> Path:
    inner = write_zip(folder / "inner.zip", {"x.png": bytes(MIB)}).read_bytes()
    return _with("cat/inner.png", inner)(folder)


def _many_scans() -> bytes:
    data = encode(random_pixels(3, 64, 64, 3), "JPEG", progressive=True)
    at = data.rfind(b"\xff\xda")
    return data[:at] + data[at:-2] * 5000 + data[-2:]


def _webp(width: int, height: int) -> bytes:
    canvas = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = b"WEBPVP8X" + struct.pack("<L", 10) + canvas
    return b"RIFF" + struct.pack("<L", len(chunks)) + chunks


def _tiff(width: int, height: int) -> bytes:
    tags = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (279, 9))
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(4)


def _tiled_tiff(side: int, tile: int) -> bytes:
    """A small image in one huge deflated tile."""
    data = zlib.compress(bytes(tile * tile // 16), 9)
    sizes = ((256, side), (257, side), (258, 8), (259, 8), (262, 1), (322, tile), (323, tile))
    tags = (*sizes, (324, 8 + 2 + 12 * 9 + 4), (325, len(data)))
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(4) + data


def _animation() -> bytes:
    frames = [Image.fromarray(random_pixels(n, 8, 8)) for n in range(50)]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


def _rle_bmp(width: int, height: int) -> bytes:
    header = struct.pack("<LllHHLLllLL", 40, width, height, 1, 8, 1, 0, 0, 0, 0, 0)
    palette = bytes(1024)
    start = 14 + len(header) + len(palette)
    return struct.pack("<2sLHHL", b"BM", 0, 0, 0, start) + header + palette + b"\x01\x00" * 1000


def _npz(**members: bytes) -> Callable[[Path], Path]:
    return lambda folder: write_zip(
        folder / "a.npz", {f"{key}.npy": data for key, data in members.items()}
    )


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def _header(text: str, version: int = 1, length: int | None = None) -> bytes:
    data = text.encode() + b"\n"
    form = "<H" if version == 1 else "<L"
    size = struct.pack(form, len(data) if length is None else length)
    return b"\x93NUMPY" + bytes((version, 0)) + size + data


def _shape(*shape: int) -> bytes:
    return _header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}")


def _outside_link(folder: Path) -> Path:
    outside = write_folder(folder / "outside", {"secret.png": encode(random_pixels(5, 8, 8, 3))})
    root = write_folder(folder / "data", good_members())
    (root / "cat" / "secret.png").symlink_to(outside / "secret.png")
    (root / "cat" / "more").symlink_to(outside)
    (root / "dog" / "loop").symlink_to(root)
    return root


def _pipe(folder: Path) -> Path:
    root = write_folder(folder / "data", good_members())
    os.mkfifo(root / "cat" / "pipe.png")
    return root


def _deep(folder: Path) -> Path:
    deep = "/".join(["cat", *("d" * 60)])
    return write_folder(folder / "data", {**good_members(), f"{deep}/x.png": b"x"})


_ZEROS = zlib.compress(bytes(100 * MIB), 9)
_Y = _npy(np.arange(40) % 4)
_X = _npy(random_pixels(6, 40, 8, 8, 3))
_EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(%pipe%id) (r) file\nshowpage\n"

CASES = (
    Case("path that climbs out (..)", REFUSED, "outside", _with("cat/../../x.png", b"x")),
    Case("absolute path", REFUSED, "outside", _with("/tmp/x.png", b"x")),
    Case("drive letter and backslashes", REFUSED, "outside", _with("C:\\cat\\x.png", b"x")),
    Case("NUL in a name", REFUSED, "outside", _patched(b"cat/03.png", b"cat/03\0png")),
    Case("symbolic link in an archive", READ, "symbolic link", _link_member),
    Case("encrypted member", REFUSED, "encrypted", _encrypted),
    Case("duplicate members", REFUSED, "several members of one name", _duplicates),
    Case("overlapping members", REFUSED, "overlap", _overlap),
    Case("300,000 members", REFUSED, "max_files", _directory(300_000)),
    Case("directory of 1 GiB declared", REFUSED, "damaged", _huge_directory),
    Case("truncated archive", REFUSED, "cut short", _truncated_archive),
    Case(
        "bzip2 member",
        REFUSED,
        "stored or deflated",
        lambda f: write_zip(f / "a.zip", good_members(), zipfile.ZIP_BZIP2),
    ),
    Case("member longer than declared", READ, "damaged archive member", _short_header),
    Case("two names for one member", READ, "damaged archive member", _other_name),
    Case("member with a wrong checksum", READ, "damaged archive member", _damaged),
    Case("deflate bomb, 32 MiB of zeros", READ, "bomb", _with("cat/b.png", bytes(32 * MIB))),
    Case("30 deflate bombs", REFUSED, "bomb", _instead(bytes(3 * MIB // 2))),
    Case("file above file_bytes", READ, "file_bytes", _large),
    Case(
        "archive in an archive", READ, ".zip file", _with("cat/in.zip", b"PK\x05\x06" + bytes(18))
    ),
    Case("archive named .png", READ, "not one of", _zip_quine_like),
    Case(
        "PNG of 60,000 x 60,000",
        READ,
        "image_pixels",
        _with("cat/p.png", png_of(60_000, 60_000, rows=_ZEROS[:5000])),
    ),
    Case(
        "30 PNG of 10,000 x 10,000, all zeros",
        REFUSED,
        "image_pixels",
        _instead(png_of(10_000, 10_000, rows=_ZEROS)),
    ),
    Case(
        "WebP canvas of 16,384 x 16,384", READ, "image_pixels", _with("cat/w", _webp(16384, 16384))
    ),
    Case(
        "GIF screen of 65,535 x 65,535",
        READ,
        "image_pixels",
        _with("cat/g.gif", b"GIF89a" + b"\xff" * 4 + b"\0\0\0," + bytes(9) + b"\x02\0;"),
    ),
    Case("TIFF of 65,536 x 65,536", READ, "image_pixels", _with("cat/t.tif", _tiff(65536, 65536))),
    Case(
        "PPM of 99,999 x 99,999", READ, "image_pixels", _with("cat/p.ppm", b"P6 99999 99999 255 ")
    ),
    Case(
        "plain text PPM of 4 million pixels", READ, "PPM", _with("cat/p.ppm", b"P3 2000 2000 255 ")
    ),
    Case(
        "run-length BMP of 4 million pixels", READ, "BMP", _with("cat/r.bmp", _rle_bmp(2000, 2000))
    ),
    Case("JPEG of 5,000 scans", READ, "jpeg_scans", _with("cat/s.jpg", _many_scans())),
    Case(
        "PNG text that unpacks to 100 MiB",
        READ,
        "",
        _with("cat/t.png", png_of(8, 8, png_chunk(b"zTXt", b"k\0\0" + _ZEROS), rows=_ZEROS[:9])),
    ),
    Case(
        "PNG colour profile that unpacks to 100 MiB",
        READ,
        "",
        _with("cat/i.png", png_of(8, 8, png_chunk(b"iCCP", b"k\0\0" + _ZEROS), rows=_ZEROS[:9])),
    ),
    Case(
        "TIFF tile of 16,384 x 16,384", READ, "TIFF tile", _with("cat/t.tif", _tiled_tiff(8, 16384))
    ),
    Case(
        "300,000 empty chunks in a PNG",
        READ,
        "chunks",
        _beside("cat/c", padded.png_of_chunks(300_000)),
    ),
    Case(
        "PNG whose EXIF entries name the same 2 MiB 20,000 times",
        READ,
        "declared",
        _beside("cat/e", padded.png_with_exif(padded.exif(20_000, 2 * MIB))),
    ),
    Case(
        "8 MiB of fill bytes before a JPEG segment",
        READ,
        "fill bytes",
        _beside("cat/f", padded.jpeg_with(b"\xff" * 8 * MIB)),
    ),
    Case(
        "8 MiB of fill bytes inside a JPEG scan",
        READ,
        "fill bytes",
        _beside("cat/t", padded.jpeg_ending_in(b"\xff" * 8 * MIB)),
    ),
    Case(
        "JPEG of a million empty segments",
        READ,
        "segments",
        _beside("cat/s", padded.jpeg_with(padded.jpeg_segment(b"") * 1_000_000)),
    ),
    Case(
        "GIF comment in 5 million blocks",
        READ,
        "blocks",
        _beside("cat/g", padded.gif_of_blocks(5 * MIB)),
    ),
    Case(
        "TIFF of a million strips",
        READ,
        "strips",
        _beside("cat/t", padded.tiff_of_strips(1_000_000)),
    ),
    Case(
        "PPM header padded with 8 MiB",
        READ,
        "header",
        _beside("cat/p", b"P6 " + b" " * 8 * MIB + b"8 8 255 " + bytes(192)),
    ),
    Case(
        "4 million comments in a plain text PPM",
        READ,
        "comments",
        _beside("cat/p", b"P3 8 8 255 " + b"#\n" * 4 * MIB + b"1 " * 192),
    ),
    Case(
        "npz class names beyond Unicode",
        REFUSED,
        "valid Unicode",
        _npz(x=_X, y=_Y, class_names=_npy(np.full(4, 0x110000, np.uint32).view("<U1"))),
    ),
    Case("EPS (a program) named .png", READ, "not one of", _with("cat/e.png", _EPS)),
    Case("SVG named .jpg", READ, "not one of", _with("cat/s.jpg", b"<svg onload='x()'/>")),
    Case(
        "truncated PNG",
        READ,
        "cannot be decoded",
        _with("cat/t.png", encode(random_pixels(7, 64, 64, 3))[:3000]),
    ),
    Case(
        "truncated JPEG",
        READ,
        "cannot be decoded",
        _with("cat/t.jpg", encode(random_pixels(8, 64, 64, 3), "JPEG")[:2000]),
    ),
    Case("empty file", READ, "empty", _with("cat/0.png", b"")),
    Case(
        "floating point TIFF",
        READ,
        "fixed range",
        _with("cat/f.tif", encode(Image.new("F", (8, 8), 1e30), "TIFF")),
    ),
    Case(
        "damaged EXIF data",
        READ,
        "",
        _with(
            "cat/x.jpg",
            encode(random_pixels(4, 8, 8, 3), "JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 40),
        ),
    ),
    Case("animation of 50 frames", READ, "first frame", _with("cat/a.gif", _animation())),
    Case("control characters in a name", READ, "\\x1b[31m", _with("cat/\x1b[31m.png", b"x")),
    Case("symbolic links out of a folder, and a loop", READ, "symbolic link", _outside_link),
    Case("named pipe in a folder", READ, "not a regular file", _pipe),
    Case("60 folders deep", READ, "folders deep", _deep),
    Case(
        "npz with pickled objects",
        REFUSED,
        "pickled objects",
        _npz(x=_npy(np.array([{"a": 1}], dtype=object)), y=_Y),
    ),
    Case(
        "npz that declares 10^15 bytes",
        REFUSED,
        "result_bytes",
        _npz(x=_shape(40, 10**6, 10**7, 3), y=_Y),
    ),
    Case(
        "npz that declares 800 MB and has none",
        REFUSED,
        "has 0 bytes",
        _npz(x=_shape(40, 2500, 2500, 3), y=_Y),
    ),
    Case(
        "npz of 32 MiB of zeros",
        REFUSED,
        "bomb",
        _npz(x=_shape(32, 1024, 1024, 1) + bytes(32 * MIB), y=_npy(np.arange(32) % 2)),
    ),
    Case(
        "npy header of 4 GiB declared",
        REFUSED,
        "header is bad",
        _npz(x=_header("{", 2, 0xFFFFFFFF), y=_Y),
    ),
    Case(
        "npy header with a call in it",
        REFUSED,
        "header is bad",
        _npz(x=_header("__import__('os').system('id')"), y=_Y),
    ),
    Case(
        "npy header of nested brackets", REFUSED, "header is bad", _npz(x=_header("[" * 9000), y=_Y)
    ),
    Case("npz cut short", REFUSED, "bytes, expected", _npz(x=_X[:-100], y=_Y)),
    Case(
        "npz with a negative shape",
        REFUSED,
        "at least one image",
        _npz(x=_shape(-40, 8, 8, 3), y=_Y),
    ),
    Case("npz with labels of 2^40", REFUSED, "labels in", _npz(x=_X, y=_npy(np.arange(40) << 40))),
)
