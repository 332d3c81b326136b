"""One image file to pixels: allow-listed formats, sizes compared before anything is decoded."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from rnp_core.checkpoints.records import printable
from rnp_core.images.budget import Budget
from rnp_core.images.result import BrokenFile
from rnp_core.images.structure import check_structure

Pixels = NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SLOW_PIXELS = 262_144  # 512 x 512, a second or two

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"RIFF": "WEBP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    **{f"P{digit}".encode(): "PPM" for digit in range(1, 7)},
}
_SLOW_DECODERS = frozenset(("bmp_rle", "ppm", "ppm_plain"))  # loops in Python
_TIFF_TILE = (322, 323)  # tags of tile width and length
_ORIENTATION = 0x0112  # EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """Pixels ``(H, W, 1 or 3)`` uint8, and what was done to get them (keys of ``NOTES``)."""

    pixels: Pixels
    notes: tuple[str, ...]


NOTES = {
    "animated": "animated or multi-page: only the first frame was read",
    "turned": "turned upright by the EXIF orientation",
    "alpha": "with transparency: dropped, the stored colours were read",
    "deep": "16 bit: reduced to 8 bit",
    "cmyk": "CMYK, LAB or YCbCr: converted to RGB",
    "grey": "in colour: converted to grey",
    "colour": "grey: repeated as three channels",
    "resized": "resized (bilinear, antialiased)",
    "stretched": "stretched: the aspect ratio changed",
}


def decode_image(
    data: bytes, *, channels: int | None, size: int | None, budget: Budget
) -> DecodedImage:
    """Decode the first frame of an image file.

    The content decides the format, whatever the name says; formats outside of ``FORMATS`` (such as
    EPS, which runs a program) are never tried. Transparency is dropped as by torchvision's default
    loader, so that the pixels are those a model would be given and nothing hides under them.

    Args:
        data: the whole file.
        channels: 1 or 3; None: 1 for grey files, else 3.
        size: side of the square result; None: as stored.
        budget: limits ``image_pixels``, ``jpeg_scans`` and ``total_pixels``.

    Raises:
        BrokenFile: for anything that is not one of these images, or beyond the limits of one.
        DataError: when ``total_pixels`` is passed.
    """
    image = _open(data, budget)
    budget.spend_pixels(image.width * image.height)
    try:
        with image, _whole_files():
            animated = bool(getattr(image, "is_animated", False))
            image.seek(0)
            image.load()
            frame, notes = _turn_upright(image)
            frame, more = _to_grey_or_rgb(frame)
    except BrokenFile:
        raise
    except Exception as error:  # decoders raise many kinds on damaged input
        raise BrokenFile(f"cannot be decoded: {printable(str(error)[:100])}") from error
    notes = [*(["animated"] if animated else []), *notes, *more]
    pixels, more = convert_pixels(np.asarray(frame), channels=channels, size=size)
    return DecodedImage(pixels, (*notes, *more))


def convert_pixels(
    pixels: Pixels, *, channels: int | None, size: int | None
) -> tuple[Pixels, list[str]]:
    """``(H, W)`` or ``(H, W, 1 or 3)`` pixels with the channels and size wanted.

    Colour becomes grey by its luma (ITU-R 601); grey is repeated. Sizes change with a bilinear
    filter that is as wide as the reduction (antialiased); both sides change alike.

    Returns:
        ``(H', W', 1 or 3)`` uint8, and what was done (keys of ``NOTES``).
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    notes = []
    if pixels.ndim == 3 and channels == 1:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
        notes.append("grey")
    if size is not None:
        pixels, more = resize_pixels(pixels, size, size)
        notes += more
    if pixels.ndim == 2 and channels == 3:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
        notes.append("colour")
    return pixels if pixels.ndim == 3 else pixels[:, :, None], notes


def resize_pixels(pixels: Pixels, height: int, width: int) -> tuple[Pixels, list[str]]:
    """``(H, W)`` or ``(H, W, 1 or 3)`` pixels at another size (bilinear, antialiased).

    Returns:
        The pixels with as many dimensions as before, and what was done (keys of ``NOTES``).
    """
    before = pixels.shape[:2]
    if before == (height, width):
        return pixels, []
    flat = pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels
    resized = np.asarray(
        Image.fromarray(flat).resize((width, height), Image.Resampling.BILINEAR)
    )
    same_shape = before[0] * width == before[1] * height
    return resized.reshape(height, width, *pixels.shape[2:]), (
        ["resized"] if same_shape else ["resized", "stretched"]
    )


def _open(data: bytes, budget: Budget) -> Image.Image:
    limits = budget.limits
    kind = next((kind for start, kind in _SIGNATURES.items() if data.startswith(start)), None)
    if kind is None or (kind == "WEBP" and data[8:12] != b"WEBP"):
        raise BrokenFile("empty" if not data else f"not one of {', '.join(FORMATS)}")
    if kind == "WEBP":  # its decoder takes memory for the canvas when it is opened
        _check_pixels(*_webp_size(data), limits.image_pixels)
    if kind == "JPEG" and data.count(b"\xff\xda") > limits.jpeg_scans:
        raise BrokenFile(f"more JPEG scans than the limit jpeg_scans, {limits.jpeg_scans}")
    check_structure(kind, data)
    try:
        image = Image.open(io.BytesIO(data), formats=(kind,))
    except Image.DecompressionBombError as error:  # Pillow's own limit, when the file is opened
        raise BrokenFile(
            f"more pixels than the limit image_pixels, {limits.image_pixels}"
        ) from error
    except Exception as error:  # plugins raise many kinds on damaged input
        reason = "unreadable header" if isinstance(error, Image.UnidentifiedImageError) else error
        raise BrokenFile(f"a damaged {kind} file: {printable(str(reason)[:100])}") from error
    _check_pixels(image.width, image.height, limits.image_pixels)
    if isinstance(image, TiffImageFile):  # one tile is held in memory, however small the image
        tile_sides = (image.tag_v2.get(tag, 1) for tag in _TIFF_TILE)
        if not _is_within(tile_sides, limits.image_pixels):
            raise BrokenFile(f"a TIFF tile above the limit image_pixels, {limits.image_pixels}")
    decoders = {tile[0] for tile in getattr(image, "tile", ())}
    if decoders & _SLOW_DECODERS and image.width * image.height > SLOW_PIXELS:
        raise BrokenFile(
            f"run-length BMP, plain text or unusual PPM above {SLOW_PIXELS} pixels; save it as PNG"
        )
    return image


@contextmanager
def _whole_files() -> Iterator[None]:
    """Refuse cut-off files, whatever other libraries of this process told Pillow to do."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _check_pixels(width: int, height: int, limit: int) -> None:
    if width * height > limit:
        raise BrokenFile(f"{width}x{height} pixels, above the limit image_pixels, {limit}")


def _is_within(sides: Iterable[object], limit: int) -> bool:
    area = 1
    for side in sides:
        if not isinstance(side, int):
            return False
        area *= side
    return area <= limit


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas or the single frame, from the first chunk."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        return (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return (
        int.from_bytes(data[26:28], "little") & 0x3FFF,
        int.from_bytes(data[28:30], "little") & 0x3FFF,
    )


def _turn_upright(image: Image.Image) -> tuple[Image.Image, list[str]]:
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged metadata does not spoil the pixels
        return image, []
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return (image, []) if turn is None else (image.transpose(turn), ["turned"])


def _to_grey_or_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """The image in mode L or RGB."""
    mode = image.mode
    notes = []
    if "transparency" in image.info or _is_see_through(image):
        notes.append("alpha")
    if mode in ("L", "RGB"):
        return image, notes
    if mode in ("1", "LA"):
        return image.convert("L"), notes
    if mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise BrokenFile("32 bit integer pixels have no fixed range; save it with 8 or 16 bit")
        scaled = (values.astype(np.uint32) + 128) // 257
        return Image.fromarray(scaled.astype(np.uint8)), [*notes, "deep"]
    if mode == "F":
        raise BrokenFile("floating point pixels have no fixed range; save it with 8 or 16 bit")
    if mode in ("CMYK", "LAB", "YCbCr", "HSV"):
        notes.append("cmyk")
    if mode == "RGBa":
        image = image.convert("RGBA")
    return image.convert("RGB"), notes


def _is_see_through(image: Image.Image) -> bool:
    alpha = image.getbands()[-1] in ("A", "a")
    return alpha and image.getchannel(len(image.getbands()) - 1).getextrema() != (255, 255)
