"""BackdoorBench results: attack_result.pt and defense_result.pt, version 1 and 2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnp_core.checkpoints.files import file_inside
from rnp_core.checkpoints.layouts.arrays import array, mapping, picture, whole_number
from rnp_core.checkpoints.layouts.base import Context, Match, count, is_leaf, text
from rnp_core.checkpoints.layouts.state_dict import match_state_dict
from rnp_core.checkpoints.result import CheckpointHints, OfferedImages

# Normalisation that BackdoorBench trains each data set with (its dataset_and_transform_generate).
_NORMALISATION = {
    "mnist": ((0.5,), (0.5,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "gtsrb": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "celeba": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "tiny": ((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
_SETS = ("bd_train", "bd_test")
_OLD_SETS = ("clean_train", "clean_test")


def match_backdoorbench(root: Any, context: Context) -> Match | None:
    """A dictionary with ``model_name``, ``num_classes`` and ``model``, else None.

    Version 1 keeps the poisoned images as arrays ``{x, y}`` (0 to 255, N, C, H, W); version 2 keeps
    the state of its data set, with the images in a folder beside the file or as pickled pictures.
    """
    if not isinstance(root, Mapping) or not {"model_name", "model"} <= set(root):
        return None
    if not {"num_classes", *_SETS, *_OLD_SETS} & set(root):
        return None
    found = match_state_dict({"model": root["model"]}, context)
    mean, std = _NORMALISATION.get(str(text(root.get("clean_data"))).lower(), ((), ()))
    hints = CheckpointHints(
        architecture=text(root["model_name"]),
        num_classes=count(whole_number(root.get("num_classes"))),
        input_size=_input_size(root.get("img_size")),
        mean=mean,
        std=std,
        module_classes=found.hints.module_classes,
    )
    sets = [name for name in (*_OLD_SETS, *_SETS) if isinstance(root.get(name), Mapping)]
    if not sets:
        name = "BackdoorBench defense_result"
    else:
        second = any("bd_data_container" in root[key] for key in sets)
        name = f"BackdoorBench attack_result (version {2 if second else 1})"
    offered = [_offered(key, root[key], context) for key in sets]
    return Match(name, found.entries, hints, tuple(o for o in offered if o is not None))


def _input_size(value: Any) -> tuple[int, int, int] | None:
    """``(C, H, W)`` of BackdoorBench's ``img_size``: (height, width, channels)."""
    sizes = [count(whole_number(v), most=100_000) for v in value] if _is_short_list(value) else []
    if len(sizes) == 2:
        sizes.append(3)
    if len(sizes) != 3 or None in sizes:
        return None
    height, width, channels = (size or 0 for size in sizes)
    return channels, height, width


def _is_short_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) in (2, 3)


def _offered(name: str, value: Mapping[Any, Any], context: Context) -> OfferedImages | None:
    if context.materialise is None:
        return None
    if "x" in value:
        return _from_arrays(name, value, context)
    container = mapping(value.get("bd_data_container"))
    return _from_container(name, mapping(container.get("data_dict")), container, context)


def _from_arrays(name: str, value: Mapping[Any, Any], context: Context) -> OfferedImages | None:
    images = _values(value["x"], context)
    labels = _values(value.get("y"), context)
    if images is None or images.ndim != 4 or images.size == 0 or images.dtype.kind not in "buif":
        return None
    if images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.shape[3] not in (1, 3) or not np.isfinite(images).all():
        return None
    if images.dtype != np.uint8 and images.max() <= 1:
        images = images * 255
    pixels = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    if labels is not None and (labels.shape != (len(images),) or labels.dtype.kind not in "iu"):
        labels = None
    role = "clean" if name in _OLD_SETS else "poisoned"
    return OfferedImages(
        role,  # type: ignore[arg-type]
        name,
        images=pixels,
        labels=None if labels is None else labels.astype(np.int64),
    )


def _values(value: Any, context: Context) -> np.ndarray | None:
    if is_leaf(value) and context.materialise is not None:
        tensor = context.materialise(value).detach()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array(value)


def _from_container(
    name: str, entries: Mapping[Any, Any], container: Mapping[Any, Any], context: Context
) -> OfferedImages | None:
    folder = container.get("save_folder_path")
    paths: list[Path] = []
    pictures: list[np.ndarray] = []
    labels: list[tuple[int, int]] = []
    for entry in entries.values():
        if isinstance(entry, Mapping):
            path = _path(entry.get("path"), folder, context.folder)
            known = _labels(entry.get("other_info"))
            if path is not None and known is not None:
                paths.append(path)
                labels.append(known)
        elif isinstance(entry, (tuple, list)) and len(entry) >= 3:
            image, known = picture(entry[0]), _labels(entry[1:3])
            if image is not None and known is not None:
                pictures.append(image)
                labels.append(known)
    if not labels or bool(paths) == bool(pictures) or len({p.shape for p in pictures}) > 1:
        return None
    return OfferedImages(
        "poisoned",
        name,
        images=np.stack(pictures) if pictures else None,
        paths=tuple(paths),
        labels=np.array([target for target, _ in labels], np.int64),
        original_labels=np.array([original for _, original in labels], np.int64),
    )


def _labels(value: Any) -> tuple[int, int] | None:
    if not isinstance(value, (list, tuple)):
        return None
    found = [whole_number(v) for v in value[:2]]
    labels = [label for label in found if label is not None and label >= 0]
    return (labels[0], labels[1]) if len(labels) == 2 else None


def _path(value: Any, saved_folder: Any, folder: Path) -> Path | None:
    """An image of the data set, found below the folder of the checkpoint, wherever it was saved."""
    if not isinstance(value, str) or not isinstance(saved_folder, str) or len(value) > 4096:
        return None
    stored = saved_folder.replace("\\", "/").rstrip("/")
    full = value.replace("\\", "/")
    if not stored or not full.startswith(f"{stored}/"):
        return None
    inner = f"{stored.rsplit('/', 1)[-1]}/{full[len(stored) + 1 :]}"
    return file_inside(folder, inner)
