"""Arithmetic on small pictures: strips, differences, sprite sheets. No Streamlit."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from rnp_core import open_picture

_GAP = 8  # white screen pixels between the pictures of a strip


def png(pixels: np.ndarray, *, min_side: int = 0) -> bytes:
    """PNG bytes of uint8 ``(H, W, 3)``; every pixel enlarged to a square up to ``min_side``."""
    factor = max(1, -(-min_side // max(pixels.shape[:2])))
    buffer = io.BytesIO()
    Image.fromarray(pixels.repeat(factor, 0).repeat(factor, 1)).save(buffer, format="PNG")
    return buffer.getvalue()


def split_strip(data: bytes, count: int = 4) -> list[np.ndarray]:
    """The pictures of a strip from ``rnp_core``, each ``(H, W, 3)`` uint8."""
    strip = open_picture(data)
    width = (strip.shape[1] - _GAP * (count - 1)) // count
    return [strip[:, i * (width + _GAP) : i * (width + _GAP) + width] for i in range(count)]


def shrink(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """An enlarged picture at its own size ``(height, width)``, one sample a square."""
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    return pixels[rows // 2 :: max(1, rows), columns // 2 :: max(1, columns)][:height, :width]


def clearest(images: Sequence[np.ndarray]) -> np.ndarray:
    """The image with the strongest contrast, the first of equals."""
    return max(images, key=lambda image: float(image.std()))


def difference(before: np.ndarray, after: np.ndarray, *, amplify: float = 3.0) -> np.ndarray:
    """Signed difference of two pictures on mid grey, ``(H, W, 3)`` uint8."""
    change = (after.astype(np.float32) - before.astype(np.float32)) / 255
    return np.round(np.clip(0.5 + 0.5 * amplify * change, 0, 1) * 255).astype(np.uint8)


def sprite_sheet(images: Sequence[np.ndarray], *, columns: int) -> bytes:
    """One PNG with all images in a grid, so that a page of a gallery is one transfer."""
    if not images:
        return b""
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for place, image in enumerate(images):
        top, left = place // columns * height, place % columns * width
        sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    return png(sheet)


def data_address(png_bytes: bytes) -> str:
    """A PNG as an address that a page can show without a request."""
    return "data:image/png;base64," + base64.b64encode(png_bytes).decode()
