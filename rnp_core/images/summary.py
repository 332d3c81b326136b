"""What identifies and describes a set of images."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def content_sha256(images: Tensor, labels: Tensor | None = None) -> str:
    """Hash of decoded images and labels; independent of file names, formats and byte order.

    Args:
        images: ``(N, C, H, W)`` float32.
        labels: ``(N,)`` int64 or None; None differs from every labelling.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(f"images {tuple(images.shape)} float32\n".encode())
    for image in images.detach().cpu():
        digest.update(np.ascontiguousarray(image.numpy(), dtype="<f4").data)
    if labels is not None:
        digest.update(f"labels {tuple(labels.shape)} int64\n".encode())
        digest.update(np.ascontiguousarray(labels.detach().cpu().numpy(), dtype="<i8").data)
    return digest.hexdigest()


def class_counts(labels: Tensor, num_classes: int | None = None) -> tuple[int, ...]:
    """Images of each class index.

    Args:
        labels: ``(N,)`` int64, not negative.
        num_classes: length of the result, at least ``max(labels) + 1``; None: exactly that.
    """
    return tuple(torch.bincount(labels, minlength=num_classes or 0).tolist())
