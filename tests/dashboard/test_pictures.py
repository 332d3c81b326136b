"""Arithmetic on pictures against closed forms."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dashboard import pictures
from rnp_core import DataError
from rnp_core.pictures import mask_png, pattern_png, strip_png

RNG = np.random.default_rng(0)


def test_a_pasted_trigger_is_the_formula_of_the_paper() -> None:
    """(1 - mask) * image + mask * pattern, from the pictures of the report alone."""
    image = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    mask = RNG.uniform(0, 1, (1, 16, 16)).astype(np.float32)
    pattern = RNG.uniform(0, 1, (3, 16, 16)).astype(np.float32)
    found = pictures.paste_trigger(image, mask_png(mask), pattern_png(mask, pattern), kind="patch")
    weight = mask.transpose(1, 2, 0)
    wanted = (1 - weight) * (image / 255) + weight * pattern.transpose(1, 2, 0)
    assert np.abs(found / 255 - wanted).max() < 2.5 / 255


def test_an_empty_mask_changes_nothing() -> None:
    image = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    nothing = np.zeros((1, 8, 8), np.float32)
    pattern = np.ones((3, 8, 8), np.float32)
    found = pictures.paste_trigger(image, mask_png(nothing), pattern_png(nothing, pattern),
                                   kind="patch")
    assert np.abs(found.astype(int) - image).max() <= 1


def test_other_kinds_cannot_be_pasted() -> None:
    with pytest.raises(DataError, match="a warp cannot be pasted"):
        pictures.paste_trigger(np.zeros((8, 8, 3), np.uint8), b"", b"", kind="warp")


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
