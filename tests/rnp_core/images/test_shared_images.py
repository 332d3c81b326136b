"""The real image sets beside the repository, when they are there."""

from __future__ import annotations

import time

import pytest

from rnp_core.images import ReadImages, class_counts, read_defense_set, read_suspects
from tests.helpers.shared import SHARED, needs_shared


@needs_shared
@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("cifar10-jpeg-train.zip", (500, 3, 32, 32), 10),
        ("cifar10-jpeg-test.zip", (500, 3, 32, 32), 10),
        ("cifar10-lossless-train4000.npz", (500, 3, 32, 32), 10),
        ("cifar10-lossless-test100.npz", (100, 3, 32, 32), 10),
        ("gtsrb-roi32-train.zip", (500, 3, 32, 32), 43),
        ("gtsrb-roi32-test.zip", (500, 3, 32, 32), 43),
        ("imagenette-val-600.zip", (500, 3, 224, 224), 10),
        ("mnist-test10000.npz", (500, 1, 28, 28), 10),
    ],
)
def test_five_hundred_images(name: str, shape: tuple[int, ...], classes: int) -> None:
    assert SHARED is not None
    size = shape[-1] if name.startswith("imagenette") else None
    start = time.process_time()
    result = read_defense_set(
        SHARED / "data" / name,
        channels=shape[1],
        size=size,
        num_classes=classes,
        max_images=500,
    )
    assert time.process_time() - start < 6  # under 3 s on an idle machine
    assert result.images.images.shape == shape
    counts = class_counts(result.images.labels, classes)
    assert min(counts) > 0
    if shape[0] == 500:
        assert max(counts) - min(counts) <= 1
    assert result.skipped == ()


@needs_shared
def test_lossless_hundred_as_suspects() -> None:
    assert SHARED is not None
    path = SHARED / "data" / "cifar10-lossless-test100.npz"
    result: ReadImages = read_suspects(path, channels=3, size=32)
    assert len(result.images) == 100 and result.warnings == ()
