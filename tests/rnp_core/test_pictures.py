"""Pictures are checked by decoding the files again."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from rnp_core import pictures
from rnp_core.errors import DataError


def decode(data: bytes) -> np.ndarray:
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).random((3, 32, 32), dtype=np.float32)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_encode_png_round_trips(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    np.testing.assert_array_equal(decode(pictures.encode_png(array)), array)
    assert pictures.encode_png(array) == pictures.encode_png(array.copy())


@pytest.mark.parametrize(
    "array", [np.zeros((4, 5)), np.zeros((4, 5, 2), np.uint8), np.zeros(4, np.uint8),
              np.zeros((0, 5), np.uint8), np.zeros((1, 4, 5, 3), np.uint8)]
)  # fmt: skip
def test_encode_png_refuses_other_arrays(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8 pixels"):
        pictures.encode_png(array)


@pytest.mark.parametrize(("side", "expected"), [(32, 128), (28, 140), (128, 128), (224, 224)])
def test_images_are_enlarged_by_whole_factors(side: int, expected: int) -> None:
    assert decode(pictures.image_png(np.zeros((3, side, side)))).shape == (expected, expected, 3)


def test_image_png_keeps_the_pixels(image: np.ndarray) -> None:
    decoded = decode(pictures.image_png(image))
    expected = np.round(image * 255).transpose(1, 2, 0)
    np.testing.assert_array_equal(decoded[::4, ::4], expected)
    np.testing.assert_array_equal(decoded[3::4, 3::4], expected)
    np.testing.assert_array_equal(decode(pictures.image_png(image, min_side=1)), expected)


def test_grey_images_and_tensors(image: np.ndarray) -> None:
    grey = decode(pictures.image_png(image[:1], min_side=1))
    assert (grey[..., 0] == grey[..., 2]).all()
    assert pictures.image_png(torch.from_numpy(image)) == pictures.image_png(image)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (np.zeros((32, 32)), "expected an image"),
        (np.zeros((2, 32, 32)), "expected an image"),
        (np.full((3, 4, 4), 1.1), r"in \[0, 1\], got 1.1 to 1.1"),
        (np.full((3, 4, 4), -0.1), r"in \[0, 1\]"),
        (np.full((3, 4, 4), np.nan), r"in \[0, 1\]"),
    ],
)
def test_image_png_refuses(wrong: np.ndarray, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        pictures.image_png(wrong)


def test_mask_png_takes_both_shapes() -> None:
    mask = np.eye(32, dtype=np.float32)
    data = pictures.mask_png(mask)
    assert data == pictures.mask_png(mask[None])
    assert decode(data)[0, 0].tolist() == [255] * 3
    assert decode(data)[0, 127].tolist() == [0] * 3
    with pytest.raises(ValueError, match="expected a mask"):
        pictures.mask_png(np.zeros((3, 4, 4)))
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        pictures.mask_png(mask * 2)
    with pytest.raises(ValueError, match="NaN"):
        pictures.mask_png(mask * np.nan)


def test_pattern_shows_only_where_the_mask_is(image: np.ndarray) -> None:
    mask = np.zeros((1, 32, 32), np.float32)
    mask[:, -3:, -3:] = 1
    shown = pictures.pattern_image(mask, image)
    np.testing.assert_array_equal(shown[:, -3:, -3:], image[:, -3:, -3:])
    assert set(np.unique(shown[:, :-3])) == {np.float32(0.80), np.float32(0.88)}
    assert decode(pictures.pattern_png(mask, image[:1])).shape == (128, 128, 3)
    with pytest.raises(ValueError, match="does not fit the pattern"):
        pictures.pattern_image(mask[:, :5], image)
    with pytest.raises(ValueError, match="expected mask values"):
        pictures.pattern_image(mask * 2, image)


def test_the_field_of_a_warp_is_red_to_the_right_and_green_down() -> None:
    moves = np.zeros((2, 2, 4), np.float32)
    moves[0, 0, :3] = 0.1, -0.02, 9.0
    moves[1, 1, 3] = -0.04
    shown = pictures.field_image(moves, 0.04)  # full colour at 0.2
    np.testing.assert_allclose(shown[0, 0], [0.75, 0.45, 1, 0.5], atol=1e-6)
    np.testing.assert_allclose(shown[1, 1], [0.5, 0.5, 0.5, 0.4], atol=1e-6)
    assert (shown[2] == 0.5).all()
    with pytest.raises(ValueError, match="expected moves"):
        pictures.field_image(moves[0], 0.04)
    with pytest.raises(ValueError, match="positive size"):
        pictures.field_image(moves, 0)


def test_an_enlarged_picture_is_read_at_its_own_size(image: np.ndarray) -> None:
    data = pictures.image_png(image[:, :, :25])
    found = pictures.open_picture(data, side=(32, 25), enlarged=True)
    np.testing.assert_array_equal(found, decode(pictures.image_png(image[:, :, :25], min_side=1)))


def test_a_picture_that_is_read_is_made_small_smoothly() -> None:
    board = np.indices((64, 64)).sum(0) % 2
    data = pictures.image_png(board[None].astype(np.float32))
    assert set(np.unique(pictures.open_picture(data, side=(8, 8)))) <= {127, 128}


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(20)])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="expected a PNG"):
        pictures.open_picture(data)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    stream = io.BytesIO()
    Image.new("1", (6000, 6000)).save(stream, "PNG")
    with pytest.raises(DataError, match="at most 25,000,000 pixels"):
        pictures.open_picture(stream.getvalue())


def test_difference_is_signed_and_amplified() -> None:
    before = np.full((1, 4, 4), 0.5, np.float32)
    after = before.copy()
    after[0, 0, 0], after[0, 0, 1], after[0, 0, 2] = 0.6, 0.4, 1.0
    shown = pictures.difference_image(before, after, amplify=4)
    np.testing.assert_allclose(shown[:, 0].T, [[0.7] * 3, [0.3] * 3, [1] * 3, [0.5] * 3], atol=1e-6)
    assert decode(pictures.difference_png(before, after)).shape == (128, 128, 3)
    with pytest.raises(ValueError, match="differ in size"):
        pictures.difference_image(before, after[:, :3])
    with pytest.raises(ValueError, match="positive amplify"):
        pictures.difference_image(before, after, amplify=0)


def test_colours_darken_evenly_to_both_sides_and_keep_blue_and_red_apart() -> None:
    colours = pictures.diverging_colour(np.linspace(-1, 1, 41))
    luminance = (colours**2.2) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance[:21]) > 0).all()
    assert (np.diff(luminance[20:]) < 0).all()
    assert abs(luminance[0] - luminance[-1]) < 0.05
    assert (colours[:20, 2] > colours[:20, 0]).all()  # blue side
    assert (colours[21:, 0] > colours[21:, 2]).all()  # orange side


def test_overlay_is_grey_without_and_coloured_with_attribution(image: np.ndarray) -> None:
    scores = np.zeros((32, 32))
    blank = pictures.attribution_overlay_image(image, scores)
    np.testing.assert_allclose(blank[0], blank[2], atol=1e-6)
    scores[0, 0], scores[5, 5] = 2.0, -2.0
    shown = pictures.attribution_overlay_image(image, scores)
    assert shown[0, 0, 0] > shown[2, 0, 0] + 0.3
    assert shown[2, 5, 5] > shown[0, 5, 5] + 0.3
    np.testing.assert_array_equal(shown[:, 9, 9], blank[:, 9, 9])
    assert decode(pictures.attribution_overlay_png(image[:1], scores)).shape == (128, 128, 3)


def test_overlay_scale_makes_maps_comparable(image: np.ndarray) -> None:
    scores = np.random.default_rng(1).normal(size=(32, 32))
    weak = pictures.attribution_overlay_png(image, scores * 0.1)
    assert weak == pictures.attribution_overlay_png(image, scores)
    assert weak != pictures.attribution_overlay_png(image, scores * 0.1, scale=2.0)


def test_overlay_refuses(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="does not fit the image"):
        pictures.attribution_overlay_png(image, np.zeros((8, 8)))
    with pytest.raises(ValueError, match="NaN"):
        pictures.attribution_overlay_png(image, np.full((32, 32), np.inf))
    with pytest.raises(ValueError, match="positive scale"):
        pictures.attribution_overlay_png(image, np.zeros((32, 32)), scale=0.0)


def test_strip_sets_images_side_by_side(image: np.ndarray) -> None:
    strip = decode(pictures.strip_png([image, image[:1], 1 - image], gap=6))
    assert strip.shape == (128, 3 * 128 + 2 * 6, 3)
    assert (strip[:, 128:134] == 255).all()
    np.testing.assert_array_equal(strip[:, :128], decode(pictures.image_png(image)))
    assert decode(pictures.strip_png([image], gap=0)).shape == (128, 128, 3)
    with pytest.raises(ValueError, match="one size"):
        pictures.strip_png([image, image[:, :16]])
    with pytest.raises(ValueError, match="one size"):
        pictures.strip_png([])
    with pytest.raises(ValueError, match="gap"):
        pictures.strip_png([image], gap=-1)
