"""Padding and tables that would cost more than the image, and files that must still be read."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from rnp_core.images.budget import Budget
from rnp_core.images.decode import DecodedImage, decode_image
from rnp_core.images.limits import ImageLimits
from rnp_core.images.result import BrokenFile
from rnp_core.images.structure import check_structure
from tests.rnp_core.images import padded
from tests.rnp_core.images.padded import MIB
from tests.rnp_core.images.pictures import encode, random_pixels


def _decode(data: bytes) -> DecodedImage:
    return decode_image(data, channels=3, size=None, budget=Budget(ImageLimits()))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: padded.png_of_chunks(300_000), "PNG chunks"),
        (lambda: padded.webp_of_chunks(1_000_000), "WEBP chunks"),
        (lambda: padded.jpeg_with(b"\xff" * 30 * MIB), "fill bytes in a JPEG"),
        (lambda: padded.jpeg_with(b"\xff\xd0" * 10 * MIB), "between JPEG segments"),
        (
            lambda: padded.jpeg_with(padded.jpeg_segment(b"x") + b"\x11" * 30 * MIB),
            "between JPEG segments",
        ),
        (lambda: padded.jpeg_with(padded.jpeg_segment(b"") * 5 * MIB), "before the first JPEG"),
        (
            lambda: padded.jpeg_with(padded.jpeg_segment(b"Exif\0\0" + bytes(65_000)) * 450),
            "before the first JPEG scan",
        ),
        (lambda: padded.jpeg_ending_in(b"\xff" * 30 * MIB), "fill bytes in a JPEG"),
        (lambda: padded.gif_of_blocks(10_000_000), "GIF data blocks"),
        (lambda: padded.gif_with_junk(30 * MIB), "between GIF blocks"),
        (lambda: padded.tiff_of_strips(1_000_000), "one TIFF tag"),
        (lambda: padded.exif(20_000, 10 * MIB), "declared in a directory"),
        (lambda: padded.png_with_exif(padded.exif(20_000, 10 * MIB)), "declared in a directory"),
        (lambda: padded.webp_with_exif(padded.exif(20_000, 10 * MIB)), "declared in a directory"),
        (lambda: padded.jpeg_with_exif(padded.exif(2000, 30_000)), "declared in a directory"),
        (lambda: b"P6 " + b" " * 30 * MIB + b"8 8 255 " + bytes(192), "PPM header"),
        (lambda: b"P6 #" + b"x" * 30 * MIB + b"\n8 8 255 " + bytes(192), "PPM header"),
        (lambda: b"P5 " + b"#\n" * 10 * MIB + b"8 8 255 " + bytes(64), "PPM header"),
        (lambda: b"P3 8 8 255 " + b"#\n" * 10 * MIB + b"1 " * 192, "comments"),
    ],
)
def test_padding_is_refused_at_once(build: Callable[[], bytes], reason: str) -> None:
    data = build()
    start = time.process_time()
    with pytest.raises(BrokenFile, match=reason):
        _decode(data)
    assert time.process_time() - start < 2


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    "build",
    [
        lambda: padded.png_of_chunks(5000),
        lambda: padded.webp_of_chunks(100),
        lambda: padded.jpeg_with(b"\xff" * 100),
        lambda: padded.jpeg_with(padded.jpeg_segment(bytes(60_000), 0xE2) * 100),
        lambda: padded.jpeg_with_exif(padded.exif(3, 1000)),
        lambda: padded.png_with_exif(padded.exif(3, 100_000)),
        lambda: padded.tiff_of_strips(8),
        lambda: b"P6\n# made by hand\n8 8\n# 8 bit\n255\n" + b"#" * 192,
        lambda: b"P5 8#\n 8 255\n" + bytes(64),
        lambda: b"P3 8 8 255 " + b"# row\n" + b"1 " * 192,
    ],
)
def test_ordinary_metadata_is_no_obstacle(build: Callable[[], bytes]) -> None:
    assert _decode(build()).pixels.shape == (8, 8, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_large_ordinary_files_pass(kind: str) -> None:
    data = encode(random_pixels(1, 700, 700, 3), kind)
    check_structure(kind, data)
    assert _decode(data).pixels.shape == (700, 700, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_damage_raises_broken_file_only(kind: str) -> None:
    whole = encode(random_pixels(2, 12, 12, 3), kind)
    random = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole[: random.integers(0, len(whole) + 1)])
        for at in random.integers(0, max(len(data), 1), 4 if data else 0):
            data[at] = random.integers(0, 256)
        try:
            check_structure(kind, bytes(data))
        except BrokenFile as error:
            assert str(error).isprintable()
