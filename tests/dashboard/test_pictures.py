"""Arithmetic on pictures against closed forms."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dashboard import pictures
from rnp_core import DataError
from rnp_core.pictures import strip_png

RNG = np.random.default_rng(0)


def test_a_strip_comes_apart_as_it_was_put_together() -> None:
    tiles = [RNG.uniform(0, 1, (3, 16, 16)) for _ in range(4)]
    found = pictures.split_strip(strip_png(tiles))
    for tile, part in zip(tiles, found, strict=True):
        small = pictures.shrink(part, 16, 16)
        assert np.abs(small / 255 - tile.transpose(1, 2, 0)).max() < 1 / 255


def test_a_sheet_holds_every_picture_in_its_place() -> None:
    images = [np.full((4, 4, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = pictures.open_picture(pictures.sprite_sheet(images, columns=2))
    assert sheet.shape == (8, 8, 3)
    assert [sheet[0, 0, 0], sheet[0, 4, 0], sheet[4, 0, 0], sheet[4, 4, 0]] == [10, 20, 30, 0]


def test_no_difference_is_mid_grey() -> None:
    image = RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    assert set(np.unique(pictures.difference(image, image))) <= {127, 128}


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(20)])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="expected a PNG"):
        pictures.open_picture(data)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    stream = io.BytesIO()
    Image.new("1", (6000, 6000)).save(stream, "PNG")
    with pytest.raises(DataError):
        pictures.open_picture(stream.getvalue())
