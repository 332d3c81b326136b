"""TrojAI round folders: a pickled network, its configuration and clean example images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rnp_core.checkpoints.files import file_inside, read_json
from rnp_core.checkpoints.layouts.base import Context, Match, count, text
from rnp_core.checkpoints.layouts.state_dict import match_state_dict
from rnp_core.checkpoints.result import OfferedImages
from rnp_core.errors import CheckpointError

CONFIGS = ("config.json", "reduced-config.json")
_EXAMPLES: tuple[tuple[str, Literal["clean", "poisoned"]], ...] = (
    ("clean-example-data", "clean"),
    ("clean_example_data", "clean"),
    ("example_data", "clean"),
    ("poisoned-example-data", "poisoned"),
    ("poisoned_example_data", "poisoned"),
)
_CLASS_IN_NAME = re.compile(r"class_(\d{1,6})_")
_KEYS = ("model_architecture", "number_classes", "num_classes", "cnn_img_size_pixels")


def match_trojai(root: Any, context: Context) -> Match | None:
    """A ``model.pt`` beside a TrojAI ``config.json`` or example images, else None."""
    config: dict[str, Any] = {}
    for name in CONFIGS:
        values = context.configs.get(name)
        if isinstance(values, Mapping):
            config.update({str(key).lower(): value for key, value in values.items()})
    examples = [folder for folder, _ in _EXAMPLES if (context.folder / folder).is_dir()]
    if not config or not (examples or "model_architecture" in config):
        return None
    if not examples and not any(key in config for key in _KEYS[1:]):
        return None
    found = match_state_dict(root, context)
    size = count(config.get("cnn_img_size_pixels"), most=100_000) or count(
        config.get("img_size_pixels"), most=100_000
    )
    architecture = text(config.get("model_architecture"))
    hints = replace(
        found.hints,
        architecture=architecture.rsplit(":", 1)[-1] if architecture else None,
        num_classes=count(config.get("number_classes")) or count(config.get("num_classes")),
        input_size=(3, size, size) if size else None,
    )
    offered: tuple[OfferedImages, ...] = ()
    if context.materialise is not None:
        sets = (_examples(context, folder, role) for folder, role in _EXAMPLES)
        offered = tuple(found for found in sets if found is not None)
    return Match("TrojAI round folder", found.entries, hints, offered)


def _examples(
    context: Context, name: str, role: Literal["clean", "poisoned"]
) -> OfferedImages | None:
    folder = context.folder / name
    if not folder.is_dir() or folder.is_symlink():
        return None
    paths, labels = [], []
    for number, entry in enumerate(sorted(folder.iterdir())):
        if number >= context.limits.folder_entries:
            break
        if entry.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            continue
        path = file_inside(folder, entry.name)
        label = None if path is None else _label(path, context)
        if path is not None and label is not None:
            paths.append(path)
            labels.append(label)
    if not paths:
        return None
    return OfferedImages(role, name, paths=tuple(paths), labels=np.array(labels, np.int64))


def _label(image: Path, context: Context) -> int | None:
    """The class of an example: a JSON number beside the image, or the number in its name."""
    beside = file_inside(image.parent, f"{image.stem}.json")
    if beside is not None:
        try:
            value = read_json(beside, context.limits)
        except CheckpointError:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1_000_000:
            return value
    named = _CLASS_IN_NAME.search(image.name)
    return int(named.group(1)) if named else None
