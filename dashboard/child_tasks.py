"""Work on untrusted files that runs in a confined child process, never in the server.

A task takes ``(payload, on_progress, protection)`` and gives a dictionary of JSON values; see
``rnp_core.run_isolated``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from dashboard.pictures import sprite_sheet
from rnp_core import (
    DataError,
    OnProgress,
    ScanRequest,
    SuspectModel,
    clean_accuracy,
    content_sha256,
    draw_attributions,
    load_checkpoint,
    load_request,
    open_picture,
)

PER_CLASS = 3
MOST_SHOWN = 36
COLUMNS = 12
_SIDE = 48


def preview(
    payload: Mapping[str, Any], on_progress: OnProgress, protection: object
) -> dict[str, Any]:
    """What the clean images of ``payload["request"]`` are, and how well the model does on them.

    Returns:
        ``count``, ``per_class`` (list of counts), ``class_names``, ``normalization`` (name),
        ``accuracy`` (share), ``shape``, ``architecture``, ``warnings`` and ``grid`` (a PNG in
        base64, ``shown`` images in rows of 12), with ``grid_labels``.
    """
    subject = load_request(ScanRequest.from_dict(payload["request"]), with_suspects=False)
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


def explain(
    payload: Mapping[str, Any], on_progress: OnProgress, protection: object
) -> dict[str, Any]:
    """Attribution maps of one suspect of a finished scan, as the scan itself draws them.

    Args:
        payload: ``request``, ``sha256`` of the checkpoint and ``suspects_sha256`` of the images as
            the report gives them, ``repaired`` (path or None), ``index`` and ``target``.

    Returns:
        ``maps``: a list of [method, model, PNG in base64].

    Raises:
        DataError: when the files are not those of the scan any more.
    """
    request = ScanRequest.from_dict(payload["request"])
    subject = load_request(request)
    same = subject.checkpoint.sha256 == payload["sha256"] and subject.suspects is not None and (
        content_sha256(subject.suspects.images.images, None) == payload["suspects_sha256"]
    )
    if not same or subject.suspects is None:
        raise DataError("expected the files of the scan, they have changed since; scan again")
    image = subject.suspects.images.images[payload["index"]]
    drawn = draw_attributions(
        list(_models(subject.model, payload["repaired"]).items()),
        [(payload["index"], image, payload["target"])],
        seed=request.seed,
    )
    return {
        "maps": [
            [row.method, row.model, base64.b64encode(drawn.pictures[row.png]).decode()]
            for row in drawn.rows
        ]
    }


def answer(
    payload: Mapping[str, Any], on_progress: OnProgress, protection: object
) -> dict[str, Any]:
    """What the models of a finished scan say about pictures.

    Args:
        payload: ``request``, ``sha256`` and ``repaired`` as in :func:`explain`, and ``pictures``,
            a list of PNGs in base64 at the size of the model's input.

    Returns:
        ``answers``: model to a list of [label, probability], one for each picture.

    Raises:
        DataError: when the checkpoint has changed since the scan.
    """
    subject = load_request(ScanRequest.from_dict(payload["request"]), with_suspects=False)
    if subject.checkpoint.sha256 != payload["sha256"]:
        raise DataError("expected the file of the scan, it has changed since; scan again")
    pixels = np.stack([open_picture(base64.b64decode(text)) for text in payload["pictures"]])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    if subject.model.input_shape[0] == 1:
        images = images.mean(1, keepdim=True)
    answers = {}
    for name, model in _models(subject.model, payload["repaired"]).items():
        with torch.no_grad():
            best = model(images).softmax(1).max(1)
        answers[name] = [[int(i), float(p)] for p, i in zip(*best, strict=True)]
    return {"answers": answers}


def _models(model: SuspectModel, repaired: str | None) -> dict[str, SuspectModel]:
    """The original model, and the repaired one where there is one."""
    models = {"original": model}
    if repaired is not None:
        models["repaired"] = model.copy()
        models["repaired"].network.load_state_dict(load_checkpoint(repaired).state, strict=False)
    return models
