"""Image sets of the benchmark: written as npz files, rendered, or taken from the shared data."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.render_signs import render_set
from rnp_core.data import DefenseSet
from rnp_core.errors import DataError
from rnp_core.images import read_defense_set

CLEAN_COUNT = 500
"""Clean images that a scan gets."""
TEST_COUNT = 2400
"""Images that measure accuracy and attack success, and that suspects are made of."""

SIGNS_CLEAN_SEED, SIGNS_TEST_SEED = 90_011, 90_012
_SHARED_SEED = 0


@dataclass(frozen=True)
class ImagePaths:
    """Where the two image sets of a model lie, npz files with ``x`` (N, H, W, C) uint8 and ``y``.

    Attributes:
        clean: images for the scan, none of which the model was trained on.
        test: other images for the measurements.
    """

    clean: Path
    test: Path


def image_cache() -> Path:
    """``$XDG_CACHE_HOME/rnp-benchmark``, else ``~/.cache/rnp-benchmark``."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "rnp-benchmark"


def write_npz(path: Path, images: Tensor, labels: Tensor) -> Path:
    """Images ``(N, C, H, W)`` in [0, 1] as 8-bit ``x`` (N, H, W, C), and labels ``(N,)`` as ``y``.

    The file appears whole or not at all. Returns ``path``.
    """
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return _write_arrays(path, pixels.numpy(), labels.numpy())


def read_npz(path: Path) -> DefenseSet:
    """All images of a file that :func:`write_npz` wrote.

    Raises:
        DataError: when it holds something else.
    """
    return read_defense_set(path).images


def signs_images(cache: Path) -> ImagePaths:
    """Rendered traffic signs, drawn into ``cache`` when they are not there yet."""
    return ImagePaths(
        _once(
            cache / f"signs-clean-{CLEAN_COUNT}.npz",
            lambda: render_set(CLEAN_COUNT, SIGNS_CLEAN_SEED),
        ),
        _once(
            cache / f"signs-test-{TEST_COUNT}.npz", lambda: render_set(TEST_COUNT, SIGNS_TEST_SEED)
        ),
    )


def shared_images(dataset: str, data: Path, cache: Path) -> ImagePaths:
    """Images for the shared checkpoints of one data set, copied into ``cache`` once.

    GTSRB's clean images come from its training part and its test images from its test part. The
    lossless part of CIFAR-10 is training images of these models and MNIST's is test images; both
    are split at random.

    Args:
        dataset: as in the cards, ``"cifar10"``, ``"gtsrb-roi32"`` or ``"mnist"``.
        data: the folder ``data`` of the shared material.

    Raises:
        DataError: for another data set, or when its file cannot be read.
    """
    if dataset.startswith("gtsrb"):
        return ImagePaths(
            _once(
                cache / "gtsrb-clean.npz",
                lambda: _from_zip(data / "gtsrb-roi32-train.zip", CLEAN_COUNT),
            ),
            _once(
                cache / "gtsrb-test.npz",
                lambda: _from_zip(data / "gtsrb-roi32-test.zip", TEST_COUNT),
            ),
        )
    files = {"cifar10": "cifar10-lossless-train4000.npz", "mnist": "mnist-test10000.npz"}
    if dataset not in files:
        raise DataError(f"expected a data set among cifar10, gtsrb and mnist, got {dataset!r}")
    path = data / files[dataset]
    return ImagePaths(
        _once(cache / f"{dataset}-clean.npz", lambda: _part(path, 0, CLEAN_COUNT)),
        _once(
            cache / f"{dataset}-test.npz",
            lambda: _part(path, CLEAN_COUNT, CLEAN_COUNT + TEST_COUNT),
        ),
    )


Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


def _from_zip(path: Path, count: int) -> Arrays:
    found = read_defense_set(path, num_classes=43, max_images=count, seed=_SHARED_SEED).images
    pixels = (found.images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return pixels.contiguous().numpy(), found.labels.numpy()


def _part(path: Path, start: int, end: int) -> Arrays:
    """Images ``start`` to ``end`` of a fixed random order; grey ones get a channel axis."""
    try:
        with np.load(path) as arrays:
            x, y = arrays["x"], arrays["y"].astype(np.int64)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"cannot read the shared images {path}: {error}") from error
    rows = np.sort(np.random.default_rng(_SHARED_SEED).permutation(len(x))[start:end])
    return (x if x.ndim == 4 else x[..., None])[rows], y[rows]


def _once(path: Path, make: Callable[[], Arrays]) -> Path:
    return path if path.exists() else _write_arrays(path, *make())


def _write_arrays(path: Path, x: NDArray[np.uint8], y: NDArray[np.int64]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.{os.getpid()}.partial.npz")
    np.savez_compressed(partial, x=x, y=y)
    partial.replace(path)
    return path
