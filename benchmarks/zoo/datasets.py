"""Training, clean and test images of each part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.images import (
    CLEAN_COUNT,
    TEST_COUNT,
    ImagePaths,
    image_cache,
    read_npz,
    signs_images,
    write_npz,
)
from benchmarks.render_signs import CLASS_NAMES as SIGN_CLASSES
from benchmarks.render_signs import render_set
from benchmarks.zoo.cifar_batches import (
    CLASS_NAMES as CIFAR_CLASSES,
)
from benchmarks.zoo.cifar_batches import (
    TEST_FILES,
    TRAIN_FILES,
    find_batches,
    read_batches,
)
from benchmarks.zoo.recipes import FEW, Part
from rnp_core.assembly import NORMALIZATIONS
from rnp_core.data import DefenseSet
from rnp_core.errors import DataError
from rnp_core.images import read_defense_set

SIGNS_TRAIN_COUNT, SIGNS_TRAIN_SEED = 12_000, 70_001
_FEW_CLEAN_SEED = 90_013
_SPLIT_SEED = 0


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The images of one part.

    Attributes:
        train: what models are trained on.
        test: what they are measured on.
        paths: the files that a scan and the measurements read; no image of them is in ``train``.
        class_names: by index.
        normalization: name in :data:`rnp_core.assembly.NORMALIZATIONS`.
        flips: whether a mirrored image keeps its class.
        shift: pixels that light augmentation moves an image at most.
    """

    train: DefenseSet
    test: DefenseSet
    paths: ImagePaths
    class_names: tuple[str, ...]
    normalization: str
    flips: bool
    shift: int

    @property
    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return NORMALIZATIONS[self.normalization]


def load_data(part: Part, data: Path | None, out: Path) -> TrainingData:
    """Read or render the images of a part.

    Args:
        data: for CIFAR-10 the folder of the official python batches; for CIFAR-10 and GTSRB also a
            folder with a training and a test part, each a folder of class folders, a zip of the
            same or an npz file, called ``train`` and ``test`` or ``NAME-train`` and ``NAME-test``
            where NAME begins with the name of the part. For signs, where rendered images are kept;
            default :func:`benchmarks.images.image_cache`.
        out: ``out/images`` gets the clean and the test images, unless they are rendered.

    Raises:
        DataError: when the images are not found or cannot be used.
    """
    if part == "small":
        return _signs(data or image_cache())
    if part in FEW:
        return _few_signs(_signs(data or image_cache()), part, out / "images")
    if data is None:
        raise DataError(f"expected --data with the images of {part}, got none")
    train, test, names = _read_parts(part, data)
    clean, rest = _hold_out(train, CLEAN_COUNT)
    folder = out / "images"
    test = test.subset(_balanced(test.labels, TEST_COUNT))
    paths = ImagePaths(
        write_npz(folder / f"{part}-clean.npz", clean.images, clean.labels),
        write_npz(folder / f"{part}-test.npz", test.images, test.labels),
    )
    is_cifar = part == "cifar10"
    return TrainingData(
        train=rest,
        test=test,
        paths=paths,
        class_names=names,
        normalization="cifar10" if is_cifar else "half",
        flips=is_cifar,
        shift=4 if is_cifar else 2,
    )


def _signs(cache: Path) -> TrainingData:
    path = cache / f"signs-train-{SIGNS_TRAIN_COUNT}.npz"
    if not path.exists():
        pixels, labels = render_set(SIGNS_TRAIN_COUNT, SIGNS_TRAIN_SEED)
        write_npz(path, _floats(pixels.transpose(0, 3, 1, 2)), torch.from_numpy(labels))
    paths = signs_images(cache)
    return TrainingData(
        train=read_npz(path),
        test=read_npz(paths.test),
        paths=paths,
        class_names=SIGN_CLASSES,
        normalization="half",
        flips=False,
        shift=2,
    )


def _few_signs(signs: TrainingData, part: Part, folder: Path) -> TrainingData:
    """The first kinds of signs only; clean images are rendered anew, to have as many as ever."""
    count = FEW[part]
    train, test = (
        images.subset(torch.nonzero(images.labels < count).flatten())
        for images in (signs.train, signs.test)
    )
    clean = folder / f"{part}-clean.npz"
    if not clean.exists():
        pixels, labels = render_set(CLEAN_COUNT * len(signs.class_names) // count, _FEW_CLEAN_SEED)
        kept = labels < count
        images = _floats(pixels[kept].transpose(0, 3, 1, 2))
        write_npz(clean, images, torch.from_numpy(labels[kept]))
    paths = ImagePaths(clean, write_npz(folder / f"{part}-test.npz", test.images, test.labels))
    return replace(
        signs, train=train, test=test, paths=paths, class_names=signs.class_names[:count]
    )


def _read_parts(part: Part, data: Path) -> tuple[DefenseSet, DefenseSet, tuple[str, ...]]:
    if part == "cifar10" and (batches := find_batches(data)) is not None:
        sets = [_from_batches(batches, files) for files in (TRAIN_FILES, TEST_FILES)]
        return sets[0], sets[1], CIFAR_CLASSES
    train, test = (
        read_defense_set(_find(part, data, kind), channels=3, size=32).images
        for kind in ("train", "test")
    )
    classes = 1 + int(max(train.labels.max(), test.labels.max()))
    return train, test, train.class_names or tuple(str(label) for label in range(classes))


def _from_batches(folder: Path, files: tuple[str, ...]) -> DefenseSet:
    pixels, labels = read_batches(folder, files)
    return DefenseSet(_floats(pixels), torch.from_numpy(labels), CIFAR_CLASSES)


def _find(part: Part, data: Path, kind: str) -> Path:
    starts = (kind, f"{part}*-{kind}")
    patterns = [start + end for start in starts for end in ("", ".zip", ".npz")]
    found = [path for pattern in patterns for path in sorted(data.glob(pattern))]
    if not found:
        raise DataError(
            f"expected the {kind} images of {part} in {data}, as one of {', '.join(patterns)}"
            + ("; or the folder of the official python batches" if part == "cifar10" else "")
        )
    return found[0]


def _hold_out(images: DefenseSet, count: int) -> tuple[DefenseSet, DefenseSet]:
    """``count`` images balanced by class, and all others."""
    chosen = _balanced(images.labels, count)
    others = torch.ones(len(images), dtype=torch.bool)
    others[chosen] = False
    return images.subset(chosen), images.subset(torch.nonzero(others).flatten())


def _balanced(labels: Tensor, count: int) -> Tensor:
    """Indices of at most ``count`` images, the classes in turn, drawn with a fixed seed."""
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    shuffled = labels.numpy()[order]
    turn = np.empty(len(order), np.int64)  # how many of its class come before an image
    for label in np.unique(shuffled):
        own = shuffled == label
        turn[own] = np.arange(own.sum())
    chosen = order[np.argsort(turn, kind="stable")[:count]]
    return torch.from_numpy(np.sort(chosen))


def _floats(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255


