"""Formats, colour modes, orientation and sizes of single images."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rnp_core.images.budget import Budget
from rnp_core.images.decode import DecodedImage, convert_pixels, decode_image
from rnp_core.images.limits import ImageLimits
from rnp_core.images.result import BrokenFile
from tests.rnp_core.images.pictures import encode, random_pixels


def _decode(data: bytes, channels: int | None = None, size: int | None = None) -> DecodedImage:
    return decode_image(data, channels=channels, size=size, budget=Budget(ImageLimits()))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_lossless_formats_keep_every_pixel(kind: str, options: dict[str, object]) -> None:
    pixels = random_pixels(1, 7, 9, 3)
    decoded = _decode(encode(pixels, kind, **options))
    assert np.array_equal(decoded.pixels, pixels)
    assert decoded.notes == ()


@pytest.mark.parametrize("kind", ["JPEG", "GIF"])
def test_lossy_formats_come_close(kind: str) -> None:
    pixels = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    decoded = _decode(encode(pixels, kind), channels=3)
    assert np.abs(decoded.pixels.astype(int) - pixels).max() <= 4


def test_grey_stays_one_channel_unless_asked() -> None:
    pixels = random_pixels(2, 5, 6)
    assert np.array_equal(_decode(encode(pixels)).pixels, pixels[:, :, None])
    decoded = _decode(encode(pixels), channels=3)
    assert np.array_equal(decoded.pixels, pixels[:, :, None].repeat(3, 2))
    assert decoded.notes == ("colour",)


def test_colour_to_grey_is_luma() -> None:
    pixels = np.zeros((1, 3, 3), np.uint8)
    pixels[0, [0, 1, 2], [0, 1, 2]] = 255
    decoded = _decode(encode(pixels), channels=1)
    assert decoded.pixels[0, :, 0].tolist() == [76, 150, 29]  # 0.299, 0.587, 0.114 of 255
    assert decoded.notes == ("grey",)


def test_transparency_is_dropped_and_noted() -> None:
    pixels = random_pixels(3, 4, 4, 4)
    decoded = _decode(encode(pixels))
    assert np.array_equal(decoded.pixels, pixels[:, :, :3])
    assert decoded.notes == ("alpha",)
    pixels[:, :, 3] = 255
    assert _decode(encode(pixels)).notes == ()


def test_palette_with_transparency() -> None:
    image = Image.fromarray(random_pixels(4, 4, 4, 3)).quantize(8)
    decoded = _decode(encode(image, transparency=0))
    assert np.array_equal(decoded.pixels, np.asarray(image.convert("RGB")))
    assert decoded.notes == ("alpha",)


def test_sixteen_bit_is_scaled() -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    decoded = _decode(encode(values))
    assert decoded.pixels[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]
    assert decoded.notes == ("deep",)


def test_bilevel_and_cmyk() -> None:
    bilevel = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert _decode(encode(bilevel)).pixels[0, :, 0].tolist() == [0, 255]
    decoded = _decode(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"))
    assert decoded.pixels[0, 0].tolist() == [255, 0, 0]
    assert decoded.notes == ("cmyk",)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    pixels = random_pixels(5, 4, 6)
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = _decode(encode(pixels, "PNG", exif=exif))
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.T,
        6: np.rot90(pixels, -1),
        7: np.rot90(pixels, 2).T,
        8: np.rot90(pixels),
    }
    assert np.array_equal(decoded.pixels[:, :, 0], turned[orientation])
    assert decoded.notes == (("turned",) if orientation > 1 else ())


def test_only_the_first_frame() -> None:
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 200)]
    for kind in ("GIF", "PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        decoded = _decode(data)
        assert decoded.pixels.max() == 10, kind
        assert "animated" in decoded.notes


def test_resizing_is_antialiased() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    pixels, notes = convert_pixels(stripes, channels=None, size=8)
    assert pixels.shape == (8, 8, 1) and notes == ["resized"]
    assert np.abs(pixels.astype(int) - 128).max() <= 8  # point sampling would give stripes
    pixels, notes = convert_pixels(stripes[:32], channels=3, size=8)
    assert pixels.shape == (8, 8, 3) and notes == ["resized", "stretched", "colour"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"RIFF\x04\0\0\0AVI ", "not one of PNG"),
        (b"\x89PNG\r\n\x1a\n", "damaged PNG file: unreadable header"),
        (encode(np.full((2, 2), 1 << 20, np.int32), "TIFF"), "32 bit integer"),
    ],
)
def test_broken_files(data: bytes, reason: str) -> None:
    with pytest.raises(BrokenFile, match=reason):
        _decode(data)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_damaged_bytes_never_raise_anything_else(kind: str) -> None:
    whole = encode(random_pixels(6, 12, 12, 3), kind)
    random = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole)
        for at in random.integers(0, min(len(data), 200), 3):
            data[at] = random.integers(0, 256)
        try:
            _decode(bytes(data[: random.integers(1, len(data) + 1)]), channels=3, size=4)
        except BrokenFile as error:
            assert str(error)
