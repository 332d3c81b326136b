"""Hugging Face and timm folders: weights beside a config.json that says how to feed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rnp_core.checkpoints.layouts.base import Context, Match, count, names, numbers, text
from rnp_core.checkpoints.layouts.state_dict import match_state_dict
from rnp_core.checkpoints.result import CheckpointHints

CONFIGS = ("config.json", "preprocessor_config.json")


def match_huggingface(root: Any, context: Context) -> Match | None:
    """Weights beside a timm or transformers ``config.json``, else None."""
    config = context.configs.get("config.json")
    if not isinstance(config, Mapping):
        return None
    if "architecture" in config:
        name, hints = "timm folder", _timm(config)
    elif "model_type" in config or "architectures" in config:
        name = "Hugging Face folder"
        hints = _transformers(config, context.configs.get("preprocessor_config.json"))
    else:
        return None
    found = match_state_dict(root, context)
    return Match(name, found.entries, replace(hints, module_classes=found.hints.module_classes))


def _timm(config: Mapping[str, Any]) -> CheckpointHints:
    """``{architecture, num_classes, label_names, pretrained_cfg: {mean, std, input_size}}``."""
    inner = config.get("pretrained_cfg")
    values = {**config, **inner} if isinstance(inner, Mapping) else config
    size = values.get("input_size")
    sizes = [count(v, most=100_000) for v in size] if isinstance(size, list) else []
    labels = config.get("label_names") or values.get("label_names")
    return CheckpointHints(
        architecture=text(config.get("architecture")),
        class_names=names(labels),
        num_classes=count(config.get("num_classes")) or count(values.get("num_classes")),
        input_size=_sizes(sizes),
        mean=numbers(values.get("mean")),
        std=_positive(values.get("std")),
    )


def _transformers(config: Mapping[str, Any], preprocessor: Any) -> CheckpointHints:
    """``{architectures, model_type, id2label, num_labels}`` and the preprocessor's values."""
    values = preprocessor if isinstance(preprocessor, Mapping) else {}
    classes = config.get("architectures")
    architecture = text(classes[0]) if isinstance(classes, list) and classes else None
    labels = names(config.get("id2label"))
    size = values.get("crop_size", values.get("size"))
    if isinstance(size, Mapping):
        size = size.get("height", size.get("shortest_edge"))
    side = count(size, most=100_000) or count(config.get("image_size"), most=100_000)
    channels = count(config.get("num_channels"), most=16) or 3
    normalised = values.get("do_normalize", True) is not False
    return CheckpointHints(
        architecture=architecture or text(config.get("model_type")),
        class_names=labels,
        num_classes=count(config.get("num_labels")) or len(labels) or None,
        input_size=_sizes([channels, side, side]),
        mean=numbers(values.get("image_mean")) if normalised else (),
        std=_positive(values.get("image_std")) if normalised else (),
    )


def _sizes(values: list[int | None]) -> tuple[int, int, int] | None:
    if len(values) != 3 or any(value is None for value in values):
        return None
    channels, height, width = (value or 0 for value in values)
    return channels, height, width


def _positive(value: Any) -> tuple[float, ...]:
    found = numbers(value)
    return found if all(v > 0 for v in found) else ()
