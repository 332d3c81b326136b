"""Arithmetic on pictures against closed forms."""

from __future__ import annotations

import numpy as np

from dashboard import pictures
from rnp_core import open_picture
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
    sheet = open_picture(pictures.sprite_sheet(images, columns=2))
    assert sheet.shape == (8, 8, 3)
    assert [sheet[0, 0, 0], sheet[0, 4, 0], sheet[4, 0, 0], sheet[4, 4, 0]] == [10, 20, 30, 0]


def test_no_difference_is_mid_grey() -> None:
    image = RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    assert set(np.unique(pictures.difference(image, image))) <= {127, 128}
