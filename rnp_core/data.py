"""Sets of images as values: the clean defence set and the suspects."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rnp_core.errors import DataError


@dataclass(frozen=True, eq=False)
class DefenseSet:
    """Clean labelled images that the user trusts.

    Attributes:
        images: ``(N, C, H, W)`` float32 in [0, 1], C is 1 or 3, not normalised.
        labels: ``(N,)`` int64 class indices.
        class_names: name of each class index, or empty when unknown.

    Raises:
        DataError: when shapes, types or ranges are not as stated.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_images(self.images)
        _check_labels(self.labels, len(self.images))
        if self.labels.min() < 0:
            raise DataError(f"labels must not be negative, got {int(self.labels.min())}")

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Tensor) -> DefenseSet:
        """The images at ``indices`` (int64, any order)."""
        return DefenseSet(self.images[indices], self.labels[indices], self.class_names)


@dataclass(frozen=True, eq=False)
class SuspectSet:
    """Images to triage; nothing is known about them.

    Attributes:
        images: ``(N, C, H, W)`` float32 in [0, 1], not normalised.
        ids: file name or index of each image, in input order.
        labels: ``(N,)`` int64 labels that came with the images, or None. Never used to decide.

    Raises:
        DataError: when shapes, types or ranges are not as stated.
    """

    images: Tensor
    ids: tuple[str, ...]
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        _check_images(self.images)
        if len(self.ids) != len(self.images):
            raise DataError(f"expected {len(self.images)} ids, got {len(self.ids)}")
        if not all(isinstance(name, str) for name in self.ids):
            raise DataError("expected ids that are text, the file name or index of each image")
        if self.labels is not None:
            _check_labels(self.labels, len(self.images))

    def __len__(self) -> int:
        return len(self.images)


def _check_tensor(value: object, which: str) -> None:
    if not isinstance(value, Tensor):
        raise DataError(f"expected {which} in a torch.Tensor, got {type(value).__name__}")


def _check_labels(labels: Tensor, count: int) -> None:
    _check_tensor(labels, "labels")
    if labels.shape != (count,):
        raise DataError(f"expected labels of shape ({count},), got {tuple(labels.shape)}")
    if labels.dtype != torch.int64:
        raise DataError(f"expected int64 labels, got {labels.dtype}")


def _check_images(images: Tensor) -> None:
    _check_tensor(images, "images")
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(f"expected images of shape (N, 1 or 3, H, W), got {tuple(images.shape)}")
    if len(images) == 0:
        raise DataError("expected at least one image, got none")
    if images.dtype != torch.float32:
        raise DataError(f"expected float32 images, got {images.dtype}")
    if not torch.isfinite(images).all() or images.min() < 0 or images.max() > 1:
        raise DataError("expected image values in [0, 1]")
