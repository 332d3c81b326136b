"""Arrays come back as they went in, through PNG archives and npz files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rnp_core.images import class_counts, read_defense_set
from rnp_core.images.subset import balanced_subset
from tests.rnp_core.images.pictures import Array, encode, write_zip

_IMAGES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from((1, 3))).flatmap(
    lambda shape: arrays.arrays(np.uint8, (24, *shape))
)


@settings(max_examples=25, deadline=None)
@given(x=_IMAGES, y=st.permutations([0, 1, 2, 3] * 6))
def test_round_trip(x: Array, y: list[int]) -> None:
    labels = np.array(y)
    with tempfile.TemporaryDirectory() as folder:
        npz = Path(folder) / "a.npz"
        np.savez_compressed(npz, x=x, y=labels)
        members = {
            f"{label}/{index:03d}.png": encode(pixels[:, :, 0] if x.shape[3] == 1 else pixels)
            for index, (pixels, label) in enumerate(zip(x, labels, strict=True))
        }
        archive = write_zip(Path(folder) / "a.zip", members)
        from_npz = read_defense_set(npz, channels=None, size=None).images
        from_zip = read_defense_set(archive, channels=None, size=None).images
    expected = (x.transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32)
    assert np.array_equal(from_npz.images.numpy(), expected)
    assert from_npz.labels.tolist() == y
    order = np.argsort(labels, kind="stable")
    assert np.array_equal(from_zip.images.numpy(), expected[order])
    assert from_zip.labels.tolist() == labels[order].tolist()
    assert class_counts(from_zip.labels) == (6, 6, 6, 6)


@settings(max_examples=100, deadline=None)
@given(y=st.lists(st.integers(0, 5), min_size=1, max_size=60), count=st.integers(1, 70))
def test_subset_is_as_even_as_the_classes_allow(y: list[int], count: int) -> None:
    labels = np.array(y)
    rows = balanced_subset(labels, count, seed=3)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert len(rows) == min(count, len(y))
    taken = np.bincount(labels[rows], minlength=6)
    there = np.bincount(labels, minlength=6)
    short = taken < there  # classes with images left over are within one of the fullest
    assert not short.any() or taken[short].min() >= taken.max() - 1
