"""Clean and suspect images from a folder, a zip archive or an npz file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rnp_core.data import DefenseSet, SuspectSet
from rnp_core.errors import DataError
from rnp_core.images.archive import SafeZip
from rnp_core.images.arrays import (
    collect_arrays,
    read_class_names,
    read_image_header,
    read_labels,
)
from rnp_core.images.budget import Budget
from rnp_core.images.checks import (
    check_arguments,
    check_defense_labels,
    check_label_range,
    check_max_images,
)
from rnp_core.images.classes import ClassMap, match_class_folders, repeated_names
from rnp_core.images.collect import Collected, collect_images, describe_skipped
from rnp_core.images.limits import ImageLimits
from rnp_core.images.listing import ImageSource, Listing
from rnp_core.images.result import ReadImages, SkippedFile
from rnp_core.images.sources import open_source
from rnp_core.images.subset import Indices, balanced_subset
from rnp_core.images.summary import content_sha256

_DEFAULT_LIMITS = ImageLimits()


def read_defense_set(
    path: Path | str,
    *,
    channels: int | None = None,
    size: int | None = None,
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    limits: ImageLimits = _DEFAULT_LIMITS,
    max_images: int | None = None,
    seed: int = 0,
) -> ReadImages[DefenseSet]:
    """Read clean labelled images.

    ``path`` is a folder of class folders, a zip archive of the same (one folder around all class
    folders is taken off), or an npz file with ``x`` ``(N, H, W, C)`` or ``(N, H, W)`` uint8 and
    ``y`` ``(N,)`` integers, and may hold ``class_names``, an array of text. Class
    folders are matched as :func:`rnp_core.images.classes.match_class_folders` says: by class name,
    else by number (the number is the class index, as in GTSRB), else in sorted order. What a file
    holds decides how it is read, never its name. Images of files come in the order of class and
    path.

    Args:
        channels: 1 or 3, converting between grey and colour; None: 3 if any image has colour.
        size: side of the square images, resizing where needed; None: the size they share, else the
            most common one, with a warning.
        class_names: name of each class index.
        num_classes: classes of the model; None: ``len(class_names)``, or as found.
        limits: bounds on time and memory.
        max_images: read only a class-balanced subset of so many, chosen before decoding.
        seed: chooses that subset.

    Raises:
        DataError: when the source is missing, refused, empty or broken by more than a tenth; has
            one class only or fewer than 20 images; or does not fit the arguments.
        ConfigError: for an argument outside its range.
    """
    num_classes = check_arguments(channels, size, class_names, num_classes, max_images)
    budget = Budget(limits)
    with open_source(Path(path), budget) as source:
        if isinstance(source, SafeZip):
            header = read_image_header(source)
            labels = read_labels(source, header.shape[0], budget=budget)
            classes = read_class_names(source, class_names, budget=budget)
            rows = _choose(labels, num_classes or len(classes.names) or None, max_images, seed)
            found = collect_arrays(
                source, header, rows, channels=channels, size=size, budget=budget
            )
        else:
            classes, labels = _label_files(source.listing, class_names, num_classes)
            rows = _choose(labels, num_classes, max_images, seed)
            files = [source.listing.files[row] for row in rows]
            found = collect_images(source, files, channels=channels, size=size, budget=budget)
        labels = labels[rows][found.kept]
        ignored, warnings = _left_out(source, found)
    warnings = [*classes.warnings, *repeated_names(classes.names), *warnings]
    warnings += check_defense_labels(labels, num_classes or len(classes.names) or None)
    defense_set = DefenseSet(found.images, torch.from_numpy(labels), classes.names)
    sha256 = content_sha256(defense_set.images, defense_set.labels)
    return ReadImages(defense_set, tuple(warnings), ignored, sha256)


def read_suspects(
    path: Path | str,
    *,
    channels: int | None = None,
    size: int | None = None,
    limits: ImageLimits = _DEFAULT_LIMITS,
) -> ReadImages[SuspectSet]:
    """Read images to triage.

    ``path`` is as for :func:`read_defense_set`, and also a flat folder or archive; ``y`` may be
    missing from an npz file. Files come in the order of their paths, which become their ids; rows
    of an npz file keep their order, and the row number is the id. Broken files are left out with a
    warning, however many they are.

    Args:
        channels: as for :func:`read_defense_set`.
        size: as for :func:`read_defense_set`.
        limits: as for :func:`read_defense_set`.

    Raises:
        DataError: when the source is missing, refused or empty, or no image in it can be read.
        ConfigError: for an argument outside its range.
    """
    check_arguments(channels, size)
    budget = Budget(limits)
    labels = None
    with open_source(Path(path), budget) as source:
        if isinstance(source, SafeZip):
            header = read_image_header(source)
            count = header.shape[0]
            if "y.npy" in source.members:
                labels = torch.from_numpy(read_labels(source, count, budget=budget))
            found = collect_arrays(
                source, header, np.arange(count), channels=channels, size=size, budget=budget
            )
            ids = [str(row) for row in found.kept]
        else:
            files = source.listing.files
            found = collect_images(
                source, files, channels=channels, size=size, budget=budget, broken_share=1.0
            )
            ids = [files[row].name for row in found.kept]
        ignored, warnings = _left_out(source, found)
    suspects = SuspectSet(found.images, tuple(ids), labels)
    sha256 = content_sha256(suspects.images, labels)
    return ReadImages(suspects, tuple(warnings), ignored, sha256)


def _choose(labels: Indices, num_classes: int | None, max_images: int | None, seed: int) -> Indices:
    """Ascending rows to read, after checking that the labels are class indices."""
    check_label_range(labels, num_classes)
    check_max_images(max_images, len(np.unique(labels)))
    return balanced_subset(labels, max_images or len(labels), seed=seed)


def _label_files(
    listing: Listing, class_names: Sequence[str] | None, num_classes: int | None
) -> tuple[ClassMap, Indices]:
    """Class indices of the files, which are put in the order of class and path."""
    for file in listing.files:
        if len(file.parts) == 1:
            listing.ignore(file.parts, "outside of the class folders")
    files = [file for file in listing.files if len(file.parts) > 1]
    if not files:
        raise DataError(
            "expected one folder per class with images in it, got only images without a folder"
        )
    classes = match_class_folders(
        listing.class_folders(), class_names=class_names, num_classes=num_classes
    )
    files.sort(key=lambda file: (classes.indices[file.parts[0]], file.parts))
    listing.files = files
    return classes, np.array([classes.indices[file.parts[0]] for file in files], np.int64)


def _left_out(
    source: ImageSource | SafeZip, found: Collected
) -> tuple[tuple[SkippedFile, ...], list[str]]:
    """Everything that was not read, and the warnings about reading."""
    ignored = [] if isinstance(source, SafeZip) else source.listing.ignored
    warnings = [
        *describe_skipped(
            found.skipped, "broken images left out", count=len(found.skipped) + len(found.kept)
        ),
        *describe_skipped(ignored, "other files ignored"),
        *found.warnings,
    ]
    return (*ignored, *found.skipped), warnings
