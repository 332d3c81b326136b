"""Whether labels and arguments make a usable defence set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnp_core.errors import ConfigError, DataError
from rnp_core.images.subset import Indices

MIN_IMAGES = 20
ADVISED_PER_CLASS = 10


def check_arguments(
    channels: int | None,
    size: int | None,
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    max_images: int | None = None,
) -> int | None:
    """The number of classes, if known from the arguments.

    Raises:
        ConfigError: for an argument outside its range.
    """
    if channels not in (None, 1, 3):
        raise ConfigError(f"expected channels of 1, 3 or None, got {channels}")
    for name, value in (("size", size), ("num_classes", num_classes), ("max_images", max_images)):
        if value is not None and value < 1:
            raise ConfigError(f"expected {name} of at least 1, got {value}")
    if class_names is None:
        return num_classes
    if num_classes is not None and len(class_names) != num_classes:
        raise ConfigError(
            f"expected {num_classes} class names, one for each class of the model, "
            f"got {len(class_names)}"
        )
    return len(class_names)


def check_label_range(labels: Indices, num_classes: int | None) -> None:
    """Check that labels are class indices.

    Raises:
        DataError: for a label below 0, or not below ``num_classes`` (65,536 when unknown).
    """
    upper = num_classes if num_classes is not None else 1 << 16
    if labels.min() < 0 or labels.max() >= upper:
        raise DataError(
            f"expected labels in [0, {upper}), got {labels.min()} to {labels.max()}; "
            "labels are class indices counted from 0"
        )


def check_max_images(max_images: int | None, present: int) -> None:
    """Check that a subset is large enough, with an image of every class that is present.

    Raises:
        DataError: when it cannot.
    """
    least = max(MIN_IMAGES, present)
    if max_images is not None and max_images < least:
        raise DataError(
            f"expected max_images of at least {least} for {present} classes, got {max_images}"
        )


def check_defense_labels(labels: Indices, num_classes: int | None) -> list[str]:
    """Check that there are enough images and classes; returns warnings about what is thin.

    Raises:
        DataError: for one class only, or fewer than 20 images.
    """
    counts = np.bincount(labels, minlength=num_classes or 0)
    present = np.flatnonzero(counts)
    if len(present) < 2:
        raise DataError(
            f"expected clean images of several classes, got only class {present[0]}; "
            "give one folder per class"
        )
    if len(labels) < MIN_IMAGES:
        raise DataError(f"expected at least {MIN_IMAGES} clean images, got {len(labels)}")
    warnings = []
    thin = [int(index) for index in present if counts[index] == 1]
    if thin:
        warnings.append(f"{len(thin)} of {len(counts)} classes with one image: {_listed(thin)}")
    missing = [int(index) for index in np.flatnonzero(counts == 0)]
    if missing:
        warnings.append(
            f"{len(missing)} of {len(counts)} classes without clean images: {_listed(missing)}"
        )
    if len(labels) < ADVISED_PER_CLASS * len(present):
        warnings.append(
            f"{len(labels)} clean images for {len(present)} classes are few; "
            f"give {ADVISED_PER_CLASS} per class or more"
        )
    return warnings


def _listed(indices: Sequence[int], limit: int = 10) -> str:
    shown = ", ".join(str(index) for index in indices[:limit])
    return shown + (f" and {len(indices) - limit} more" if len(indices) > limit else "")
