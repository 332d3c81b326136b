"""A recovered trigger on other images, from what a report keeps of it; no torch.

The kinds are those of :mod:`rnp_core.inversion`: a patch replaces pixels, an additive trigger and
a sinusoid add one image everywhere, a warp moves pixels. The report may come from somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnp_core.errors import DataError
from rnp_core.pictures import FIELD_REACH, MOST_PIXELS, Bytes, Floats, open_picture, pattern_image
from rnp_core.report import TriggerRow
from rnp_core.run_reader import RunFolder

_LARGEST_SIZE = 10_000.0  # percent


@dataclass(frozen=True, eq=False)
class StoredTrigger:
    """A trigger as a report keeps it.

    Attributes:
        kind: "patch", which a source-specific one is too, "additive", which a sinusoid is too, or
            "warp".
        change: what it does to a pixel, float32: for a patch ``(H, W, 4)``, painted colour and
            mask; for an additive trigger ``(H, W, 3)``, what is added; for a warp ``(H, W, 2)``,
            the place (x, y) in pixels that a pixel is taken from, relative to its own.
    """

    kind: str
    change: Floats

    def paste(self, image: Bytes) -> Bytes:
        """``image`` ``(H, W, 3)`` uint8, at the size of the model's input, with the trigger on."""
        pixels = _floats(image)
        if self.kind == "patch":
            pixels = (1 - self.change[..., 3:]) * pixels + self.change[..., :3]
        elif self.kind == "additive":
            pixels = pixels + self.change
        else:
            pixels = _moved(pixels, self.change)
        return np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def stored_trigger(run: RunFolder, row: TriggerRow) -> StoredTrigger | None:
    """The trigger of a row; None where the report does not keep enough of it.

    Raises:
        DataError: when its pictures are damaged, or the report gives a size of trigger or input
            that cannot be.
    """
    if row.kind in ("patch", "source-specific"):
        mask, pattern = _picture(run, row.mask_png), _picture(run, row.pattern_png)
        if mask is None or pattern is None:
            return None
        return StoredTrigger("patch", _patch(mask[..., :1], pattern))
    if row.kind in ("additive", "sinusoid"):
        pattern = _picture(run, row.pattern_png)
        return None if pattern is None else StoredTrigger("additive", _added(pattern, row.norm))
    field = _picture(run, row.field_png) if row.kind == "warp" else None
    return None if field is None else StoredTrigger("warp", _moves(field, row.norm))


def _picture(run: RunFolder, name: str) -> Floats | None:
    """A picture of the run folder at the size of the model's input, ``(H, W, 3)`` in [0, 1]."""
    data = run.picture(name)
    if data is None:
        return None
    shape = run.report.model.input_shape
    if len(shape) != 3 or min(shape) < 1 or shape[1] * shape[2] > MOST_PIXELS:
        raise DataError(
            f"expected an input (C, H, W) of at most {MOST_PIXELS:,} pixels, got {shape[:4]}"
        )
    return _floats(open_picture(data, side=(shape[1], shape[2]), enlarged=True))


def _floats(pixels: Bytes) -> Floats:
    """uint8 as float32 in [0, 1]."""
    return np.divide(pixels, 255, dtype=np.float32)


def _patch(mask: Floats, pattern: Floats) -> Floats:
    """Painted colour and mask, ``(H, W, 4)``; the picture has a chequerboard where nothing is."""
    nothing = np.zeros((3, *mask.shape[:2]), np.float32)
    board = pattern_image(mask[..., 0], nothing).transpose(1, 2, 0)  # (1 - mask) * chequerboard
    return np.concatenate([pattern - board, mask], axis=-1)


def _added(pattern: Floats, norm: float) -> Floats:
    """What is added, ``(H, W, 3)``: its root mean square is ``norm`` percent, and the picture shows
    it around mid grey, in units of its peak."""
    relative = 2 * pattern - 1
    rms = float(np.sqrt(np.mean(np.square(relative))))
    return relative * np.float32(_share(norm) / rms if rms > 0 else 0)


def _moves(field: Floats, norm: float) -> Floats:
    """How far away pixels are taken from, ``(H, W, 2)`` in pixels; inverts ``field_image``."""
    height, width = field.shape[:2]
    reach = FIELD_REACH * _share(norm) * np.array((width - 1, height - 1), np.float32)
    return (2 * field[..., :2] - 1) * reach


def _share(norm: float) -> float:
    """The size of a trigger as a share, from percent."""
    if not 0 <= norm <= _LARGEST_SIZE:  # also false for NaN
        raise DataError(f"expected a trigger of 0 to {_LARGEST_SIZE:.0f} percent, got {norm:.3g}")
    return norm / 100


def _moved(image: Floats, moves: Floats) -> Floats:
    """Bilinear samples of ``image`` ``(H, W, 3)`` at each pixel's place plus ``moves``."""
    height, width = image.shape[:2]
    rows, columns = np.indices((height, width), dtype=np.float32)
    x = np.clip(columns + moves[..., 0], 0, width - 1)
    y = np.clip(rows + moves[..., 1], 0, height - 1)
    left, top = x.astype(int), y.astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    dx, dy = (x - left)[..., None], (y - top)[..., None]
    upper = (1 - dx) * image[top, left] + dx * image[top, right]
    lower = (1 - dx) * image[bottom, left] + dx * image[bottom, right]
    return (1 - dy) * upper + dy * lower
