"""Images, trigger masks and attribution maps as PNG files for reports and pages.

The functions ``*_image`` give float32 arrays ``(3, H, W)`` in [0, 1], one value per image pixel;
the functions ``*_png`` give the bytes of a PNG file, each image pixel drawn as a square of screen
pixels. Arrays may be NumPy arrays or CPU tensors without gradients. The same input gives the same
bytes. Wrong shapes, ranges or NaN raise ValueError. :func:`open_picture` reads a file again, which
may come from somebody else.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from rnp_core.errors import DataError

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

MIN_SIDE = 128  # screen pixels of the longer side, at least
UNCHANGED = 0.5  # grey of a pixel without difference

MOST_PIXELS = 25_000_000
"""Pixels of a picture that is read at most."""

FIELD_REACH = 5.0
"""How far full colour moves a pixel in the field of a warp, in sizes of the trigger."""

# Strength -1, -0.5, 0, 0.5, 1 as sRGB. Blue against orange stays apart in the common forms of
# colour blindness; both arms darken evenly from the centre, so strength also reads in grey.
DIVERGING = np.array(
    [(11, 78, 162), (92, 157, 214), (247, 247, 247), (240, 146, 52), (179, 62, 6)], np.float32
)


def encode_png(pixels: ArrayLike) -> bytes:
    """PNG bytes of ``pixels``: uint8, ``(H, W)`` grey or ``(H, W, 3)`` colour."""
    array = np.ascontiguousarray(pixels)
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
    if array.dtype != np.uint8 or array.size == 0 or not fits:
        raise ValueError(
            f"expected uint8 pixels (H, W) or (H, W, 3), got {array.dtype} {array.shape}"
        )
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", compress_level=9)
    return buffer.getvalue()


def image_png(image: ArrayLike, *, min_side: int = MIN_SIDE) -> bytes:
    """An image ``(C, H, W)`` in [0, 1]; 1 channel is grey."""
    return encode_png(_enlarge(_to_pixels(_as_colour(image)), min_side))


def mask_image(mask: ArrayLike) -> Floats:
    """A trigger mask ``(H, W)`` or ``(1, H, W)`` in [0, 1]: black keeps a pixel, white replaces."""
    return _as_colour(_as_map(mask, "mask")[None])


def mask_png(mask: ArrayLike, *, min_side: int = MIN_SIDE) -> bytes:
    """:func:`mask_image` as a file."""
    return image_png(mask_image(mask), min_side=min_side)


def pattern_image(mask: ArrayLike, pattern: ArrayLike) -> Floats:
    """What a trigger paints: ``pattern`` ``(C, H, W)`` where the mask is, else a pale chequerboard.

    The chequerboard stands for transparency, as in image editors.
    """
    colour = _as_colour(pattern)
    weight = _as_map(mask, "mask")
    if weight.shape != colour.shape[1:]:
        raise ValueError(f"mask {weight.shape} does not fit the pattern {colour.shape[1:]}")
    _check_range(weight, "mask")
    rows, columns = np.indices(weight.shape) // max(1, max(weight.shape) // 16)
    board = np.where((rows + columns) % 2, 0.80, 0.88).astype(np.float32)
    return (1 - weight) * board + weight * colour


def pattern_png(mask: ArrayLike, pattern: ArrayLike, *, min_side: int = MIN_SIDE) -> bytes:
    """:func:`pattern_image` as a file."""
    return image_png(pattern_image(mask, pattern), min_side=min_side)


def field_image(moves: ArrayLike, size: float) -> Floats:
    """How far away a warp takes each pixel from: red to the right, green down, mid grey nowhere.

    Args:
        moves: ``(2, H, W)`` (x, y), in shares of the sides.
        size: of the trigger, likewise. Full colour is :data:`FIELD_REACH` times that, or further.
    """
    array = np.asarray(moves, np.float32)
    if array.ndim != 3 or len(array) != 2 or array.size == 0:
        raise ValueError(f"expected moves (2, H, W), got {array.shape}")
    if not size > 0:
        raise ValueError(f"expected a positive size, got {size}")
    colour = np.clip(UNCHANGED + 0.5 * array / np.float32(FIELD_REACH * size), 0, 1)
    return np.concatenate([colour, np.full_like(colour[:1], UNCHANGED)])


def difference_image(before: ArrayLike, after: ArrayLike, *, amplify: float = 1.0) -> Floats:
    """Signed difference ``after - before`` of two images ``(C, H, W)``, on mid grey.

    Grey is unchanged; a channel is brighter where it grew and darker where it shrank. At
    ``amplify`` 1 the full range -1 to 1 fits; larger factors show faint changes and clip.
    """
    first, second = _as_colour(before), _as_colour(after)
    if first.shape != second.shape:
        raise ValueError(f"images differ in size: {first.shape[1:]} and {second.shape[1:]}")
    if not amplify > 0:
        raise ValueError(f"expected a positive amplify, got {amplify}")
    return np.clip(UNCHANGED + 0.5 * np.float32(amplify) * (second - first), 0, 1)


def difference_png(
    before: ArrayLike, after: ArrayLike, *, amplify: float = 1.0, min_side: int = MIN_SIDE
) -> bytes:
    """:func:`difference_image` as a file."""
    return image_png(difference_image(before, after, amplify=amplify), min_side=min_side)


def diverging_colour(strength: ArrayLike) -> Floats:
    """sRGB ``(..., 3)`` in [0, 1] of strengths in [-1, 1] (clipped), between ``DIVERGING``."""
    values = np.clip(np.asarray(strength, np.float32), -1, 1)
    anchors = np.linspace(-1, 1, len(DIVERGING))
    channels = [np.interp(values, anchors, DIVERGING[:, channel] / 255) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def attribution_overlay_image(
    image: ArrayLike, scores: ArrayLike, *, scale: float | None = None
) -> Floats:
    """An attribution map ``(H, W)`` in colour over its image ``(C, H, W)`` in pale grey.

    Orange pixels raise the logit, blue ones lower it, and weak ones let the image through.

    Args:
        scale: size of a score that gets the full colour, by default :func:`attribution_scale`.
            Give the same scale to maps that are to be compared.
    """
    colour = _as_colour(image)
    values = _as_map(scores, "attribution map")
    if values.shape != colour.shape[1:]:
        raise ValueError(f"map {values.shape} does not fit the image {colour.shape[1:]}")
    if scale is None:
        scale = attribution_scale([values])
    if not scale > 0:
        raise ValueError(f"expected a positive scale, got {scale}")
    strength = np.clip(values / np.float32(scale), -1, 1)
    luma = np.tensordot(np.array((0.299, 0.587, 0.114), np.float32), colour, axes=1)
    backdrop = 0.45 + 0.5 * luma  # (H, W), pale enough that both colours show on dark pixels
    opacity = 0.9 * np.abs(strength) ** 0.8
    return (1 - opacity) * backdrop + opacity * diverging_colour(strength).transpose(2, 0, 1)


def attribution_scale(maps: Sequence[ArrayLike]) -> float:
    """Size of a score that gets the full colour in ``maps`` together: the 99th percentile of all
    sizes, so that a single pixel cannot hide the rest; 1 for maps of zeros."""
    sizes = np.abs(np.stack([np.asarray(scores, np.float32) for scores in maps]))
    return float(np.quantile(sizes, 0.99)) or float(sizes.max()) or 1.0


def attribution_overlay_png(
    image: ArrayLike,
    scores: ArrayLike,
    *,
    scale: float | None = None,
    min_side: int = MIN_SIDE,
) -> bytes:
    """:func:`attribution_overlay_image` as a file."""
    return image_png(attribution_overlay_image(image, scores, scale=scale), min_side=min_side)


def strip_png(images: Sequence[ArrayLike], *, gap: int = 8, min_side: int = MIN_SIDE) -> bytes:
    """Images ``(C, H, W)`` of one size side by side, ``gap`` white screen pixels between them."""
    tiles = [_enlarge(_to_pixels(_as_colour(image)), min_side) for image in images]
    if not tiles or len({tile.shape for tile in tiles}) > 1:
        raise ValueError(f"expected images of one size, got {[tile.shape[:2] for tile in tiles]}")
    if gap < 0:
        raise ValueError(f"expected a gap of at least 0 pixels, got {gap}")
    spacer = np.full((tiles[0].shape[0], gap, 3), 255, np.uint8)
    row = [part for tile in tiles for part in (spacer, tile)][1:]
    return encode_png(np.concatenate(row, axis=1))


def open_picture(
    data: bytes, *, side: tuple[int, int] | None = None, enlarged: bool = False
) -> Bytes:
    """Pixels ``(H, W, 3)`` uint8 of an untrusted picture.

    Args:
        side: (height, width) to resize to.
        enlarged: whether each pixel was drawn as a square, so that one sample of it is exact.

    Raises:
        DataError: when it is no PNG, JPEG, WebP or BMP, or too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "BMP")) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(
                    f"expected a picture of at most {MOST_PIXELS:,} pixels, got "
                    f"{image.width} x {image.height}; make it smaller"
                )
            colour = image.convert("RGB")
    except DataError:
        raise
    except Exception as error:  # decoders raise many kinds on damaged input
        raise DataError("expected a PNG, JPEG, WebP or BMP picture; it cannot be read") from error
    if side is not None:
        way = Image.Resampling.NEAREST if enlarged else Image.Resampling.BICUBIC
        colour = colour.resize((side[1], side[0]), way)
    return np.asarray(colour)


def _as_colour(image: ArrayLike) -> Floats:
    """``(3, H, W)`` float32 out of ``(1 or 3, H, W)`` in [0, 1]."""
    array = np.asarray(image, np.float32)
    if array.ndim != 3 or array.shape[0] not in (1, 3) or array.size == 0:
        raise ValueError(f"expected an image (1 or 3, H, W), got {array.shape}")
    _check_range(array, "image")
    return np.repeat(array, 3, axis=0) if len(array) == 1 else array


def _as_map(values: ArrayLike, name: str) -> Floats:
    """``(H, W)`` float32 out of ``(H, W)`` or ``(1, H, W)``."""
    array = np.asarray(values, np.float32)
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"expected a {name} (H, W) or (1, H, W), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"the {name} has NaN or infinite values")
    return array


def _check_range(values: Floats, name: str) -> None:
    low, high = float(values.min()), float(values.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # also false for NaN; rounding may pass
        raise ValueError(f"expected {name} values in [0, 1], got {low:.3g} to {high:.3g}")


def _to_pixels(colour: Floats) -> Bytes:
    """uint8 ``(H, W, 3)``."""
    return np.round(np.clip(colour, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)


def _enlarge(pixels: Bytes, min_side: int) -> Bytes:
    """Every pixel as a square, by the smallest whole factor that reaches ``min_side``."""
    factor = max(1, -(-min_side // max(pixels.shape[:2])))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)
