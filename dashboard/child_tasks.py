"""Work on untrusted files that runs in a confined child process, never in the server.

A task takes ``(payload, on_progress, protection)`` and gives a dictionary of JSON values; see
``rnp_core.run_isolated``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dashboard.pictures import sprite_sheet
from rnp_core import Normalization, OnProgress, clean_accuracy, load_subject

PER_CLASS = 3
MOST_SHOWN = 36
COLUMNS = 12
_SIDE = 48


def preview(
    payload: Mapping[str, Any], on_progress: OnProgress, protection: object
) -> dict[str, Any]:
    """What the clean images are, and how well the model does on them.

    Returns:
        ``count``, ``per_class`` (list of counts), ``class_names``, ``normalization`` (name),
        ``accuracy`` (share), ``shape``, ``architecture``, ``warnings`` and ``grid`` (a PNG in
        base64, ``shown`` images in rows of 12), with ``grid_labels``.
    """
    normalization: str | Normalization = payload["normalization"]
    if payload["mean"] is not None and payload["std"] is not None:
        normalization = Normalization(tuple(payload["mean"]), tuple(payload["std"]), "given")
    subject = load_subject(
        Path(payload["checkpoint"]),
        Path(payload["clean"]),
        arch=payload["arch"],
        num_classes=payload["num_classes"],
        class_names=payload["class_names"],
        normalization=normalization,
    )
    images = subject.clean.images
    labels = images.labels.numpy()
    chosen: list[int] = []
    for label in np.unique(labels):
        chosen += np.flatnonzero(labels == label)[:PER_CLASS].tolist()
    chosen = chosen[:MOST_SHOWN]
    tiles = []
    for index in chosen:
        pixels = images.images[index].numpy().transpose(1, 2, 0)
        pixels = np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
        step = max(1, max(pixels.shape[:2]) // _SIDE)
        tiles.append(np.repeat(pixels, 3, 2)[::step, ::step] if pixels.shape[2] == 1
                     else pixels[::step, ::step])
    classes = subject.model.num_classes
    return {
        "count": len(images),
        "per_class": np.bincount(labels, minlength=classes).tolist(),
        "class_names": list(subject.model.class_names),
        "normalization": subject.model.normalization.source,
        "accuracy": clean_accuracy(subject.model, images),
        "shape": list(subject.model.input_shape),
        "architecture": subject.architecture,
        "warnings": [*subject.notes, *subject.clean.warnings],
        "grid": base64.b64encode(sprite_sheet(tiles, columns=COLUMNS)).decode(),
        "grid_labels": [int(labels[index]) for index in chosen],
    }
