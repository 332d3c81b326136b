"""A recovered trigger on other images, from what a report keeps of it. No Streamlit.

The three kinds are those of ``rnp_core.inversion``: a patch replaces pixels, an additive trigger
adds one image everywhere, a warp moves pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dashboard.pictures import open_picture, shrink
from rnp_core import TriggerRow, pattern_image
from rnp_core.run_reader import RunFolder


@dataclass(frozen=True, eq=False)
class StoredTrigger:
    """A trigger as a report keeps it.

    Attributes:
        kind: "patch", "additive" or "warp".
        shift: what it does to a pixel, float32: for a patch ``(H, W, 4)``, painted colour and mask;
            for an additive trigger ``(H, W, 3)``, what is added; for a warp ``(H, W, 2)``, the
            place (x, y) in pixels that a pixel is taken from, relative to its own.
    """

    kind: str
    shift: np.ndarray

    def paste(self, image: np.ndarray) -> np.ndarray:
        """``image`` ``(H, W, 3)`` uint8, at the size of the model's input, with the trigger on."""
        pixels = image.astype(np.float32) / 255
        if self.kind == "patch":
            pixels = (1 - self.shift[..., 3:]) * pixels + self.shift[..., :3]
        elif self.kind == "additive":
            pixels = pixels + self.shift
        else:
            pixels = _moved(pixels, self.shift)
        return np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def stored_trigger(run: RunFolder, row: TriggerRow) -> StoredTrigger | None:
    """The trigger of a row; None where the report does not keep enough of it.

    Raises:
        DataError: when its pictures are damaged.
    """
    height, width = run.report.model.input_shape[1:]
    pattern = _picture(run, row.pattern_png, height, width)
    if pattern is None:
        return None
    if row.kind == "patch":
        mask = _picture(run, row.mask_png, height, width)
        return None if mask is None else StoredTrigger("patch", _patch(mask[..., :1], pattern))
    if row.kind == "additive":
        return StoredTrigger("additive", _amplitude(2 * pattern - 1, row.norm))
    field = _picture(run, getattr(row, "field_png", ""), height, width)
    if row.kind != "warp" or field is None:
        return None
    shift = _amplitude(2 * field[..., :2] - 1, row.norm, axes=2)
    return StoredTrigger("warp", shift * np.array((width - 1, height - 1), np.float32))


def _picture(run: RunFolder, name: str, height: int, width: int) -> np.ndarray | None:
    """A picture of the run folder at the size of the model's input, ``(H, W, 3)`` in [0, 1]."""
    data = run.picture(name)
    return None if data is None else shrink(open_picture(data), height, width) / np.float32(255)


def _patch(mask: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """Painted colour and mask, ``(H, W, 4)``; the picture has a chequerboard where nothing is."""
    nothing = np.zeros((3, *mask.shape[:2]), np.float32)
    board = pattern_image(mask[..., 0], nothing).transpose(1, 2, 0)  # (1 - mask) * chequerboard
    return np.concatenate([pattern - board, mask], axis=-1)


def _amplitude(relative: np.ndarray, size: float, *, axes: int = 1) -> np.ndarray:
    """A change in [-1, 1] of its peak, scaled so that its root mean square is ``size`` percent.

    Args:
        axes: numbers that make up one change; 2 for a displacement.
    """
    rms = float(np.sqrt(axes * np.mean(np.square(relative))))
    return (relative * (size / 100 / rms) if rms > 0 else relative).astype(np.float32)


def _moved(image: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Bilinear samples of ``image`` ``(H, W, 3)`` at each pixel's place plus ``shift``."""
    height, width = image.shape[:2]
    rows, columns = np.indices((height, width), dtype=np.float32)
    x = np.clip(columns + shift[..., 0], 0, width - 1)
    y = np.clip(rows + shift[..., 1], 0, height - 1)
    left, top = x.astype(int), y.astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    dx, dy = (x - left)[..., None], (y - top)[..., None]
    upper = (1 - dx) * image[top, left] + dx * image[top, right]
    lower = (1 - dx) * image[bottom, left] + dx * image[bottom, right]
    return (1 - dy) * upper + dy * lower
