"""Pictures of a run folder as data URIs, decoded, made small and written anew.

A run folder may come from somebody else. Nothing of a picture file but its pixels gets into a
report, and all pictures of a report share a budget of bytes.
"""

from __future__ import annotations

import base64
import io
import warnings

import numpy as np
from PIL import Image

from rnp_core.run_reader import RunFolder

BUDGET_BYTES = 3_000_000
"""Most bytes of pictures in a report, as base64 text."""

_MOST_PIXELS = 16_000_000


class PictureBook:
    """Gives pictures of a run until the budget is spent; then and for broken ones, None.

    Args:
        run: where the pictures lie.
        budget: bytes of base64 text.
    """

    def __init__(self, run: RunFolder, *, budget: int = BUDGET_BYTES) -> None:
        self._run = run
        self._left = budget
        self._thumbnails = run.thumbnails()

    def file(self, name: str, *, side: int) -> str | None:
        """The PNG that the report calls ``name``, its longest side at most ``side`` pixels."""
        data = self._run.picture(name)
        if data is None:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                    if image.width * image.height > _MOST_PIXELS:
                        return None
                    pixels = image.convert("RGB")
        except Exception:  # a broken or hostile picture fails in many ways, and is left out
            return None
        return self._keep(pixels, side)

    def thumbnail(self, index: int, *, side: int = 64) -> str | None:
        """The small picture of a suspect."""
        pixels = self._thumbnails.get(index)
        if pixels is None:
            return None
        colour = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels
        return self._keep(Image.fromarray(np.ascontiguousarray(colour)), side)

    def _keep(self, image: Image.Image, side: int) -> str | None:
        if max(image.size) > side:
            image.thumbnail((side, side), Image.Resampling.BOX)
        target = io.BytesIO()
        image.save(target, "PNG", optimize=True)
        text = base64.b64encode(target.getvalue()).decode("ascii")
        if len(text) > self._left:
            return None
        self._left -= len(text)
        return f"data:image/png;base64,{text}"
