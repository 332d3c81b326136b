"""Results of finished stages on disk, so that an interrupted scan goes on where it stopped.

Values are written as tensors (safetensors) with a JSON tree in the header, and read back by the
type that the stage is known to return: a file decides no type and runs no code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rnp_core.config import ScanConfig
from rnp_core.data import DefenseSet
from rnp_core.images import content_sha256
from rnp_core.model import SuspectModel
from rnp_core.stages.recover import RecoverResult
from rnp_core.stages.removal import RemovalResult
from rnp_core.stages.triggers import TriggerSearch
from rnp_core.stages.unlearn import UnlearnResult
from rnp_core.version import VERSION

_KEPT: Mapping[str, Any] = {
    "unlearn": UnlearnResult,
    "recover": RecoverResult,
    "triggers": TriggerSearch,
    "removal": RemovalResult,
}
"""Stages whose results are kept, with the type of each; the others take seconds."""

_log = logging.getLogger(__name__)


class StageStore:
    """Results of one scan.

    Args:
        folder: made if need be; results of another scan in it do not count.
        model: the model under suspicion; models in results are copies of it with other weights.
        fingerprint: of everything that decides the results, see :func:`scan_fingerprint`.
    """

    def __init__(self, folder: Path, *, model: SuspectModel, fingerprint: str) -> None:
        self._folder = folder
        self._model = model
        self._fingerprint = fingerprint

    def load(self, stage: str) -> Any | None:
        """The result of a stage that finished before, or None."""
        path = self._path(stage)
        if stage not in _KEPT or not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                if header.get("fingerprint") != self._fingerprint:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            tree = json.loads(header["value"])
            return _decode(_KEPT[stage], tree, tensors, self._model)
        except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
            _log.warning("the kept result of stage %s cannot be used: %s", stage, error)
            return None

    def save(self, stage: str, result: Any) -> None:
        """Keep the result of a stage; where the disk does not take it, the scan goes on without."""
        if stage not in _KEPT:
            return
        path = self._path(stage)
        temporary = path.with_suffix(f".{os.getpid()}")
        tensors: dict[str, Tensor] = {}
        try:
            header = {
                "fingerprint": self._fingerprint,
                "value": json.dumps(_encode(result, tensors)),
            }
            self._folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, temporary, header)
            temporary.replace(path)
        except (OSError, SafetensorError, TypeError) as error:
            _log.warning("the result of stage %s cannot be kept: %s", stage, error)
            temporary.unlink(missing_ok=True)

    def _path(self, stage: str) -> Path:
        return self._folder / f"{stage.replace(' ', '-')}.safetensors"


def open_stage_store(
    folder: Path, model: SuspectModel, defense_set: DefenseSet, config: ScanConfig
) -> StageStore:
    """The store of a scan of these inputs in ``folder``."""
    fingerprint = scan_fingerprint(model, defense_set, config)
    return StageStore(folder, model=model, fingerprint=fingerprint)


def scan_fingerprint(model: SuspectModel, defense_set: DefenseSet, config: ScanConfig) -> str:
    """Digest of the network, how it is called and computed, clean images, settings, versions."""
    digest = hashlib.sha256(f"{VERSION} {torch.__version__} {model.normalization}".encode())
    digest.update(f"{model.network} {model.num_classes} {model.returns_probabilities}".encode())
    digest.update(f"{model.device.type} {model.memory_format} {model.mixed_precision}".encode())
    digest.update(json.dumps(config.to_dict(), sort_keys=True, default=str).encode())
    digest.update(content_sha256(defense_set.images, defense_set.labels).encode())
    for name, tensor in model.state_dict().items():
        data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(data)
    return digest.hexdigest()


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A JSON tree; tensors go into ``tensors`` and leave their name."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone().contiguous()
        return name
    if isinstance(value, SuspectModel):
        return {name: _encode(tensor, tensors) for name, tensor in value.state_dict().items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {item.name: _encode(getattr(value, item.name), tensors) for item in fields}
    if isinstance(value, Mapping):
        return [[key, _encode(item, tensors)] for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [_encode(item, tensors) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"cannot keep a {type(value).__name__}")


def _decode(kind: Any, tree: Any, tensors: Mapping[str, Tensor], model: SuspectModel) -> Any:
    """The value of type ``kind`` that :func:`_encode` turned into ``tree``."""
    if kind is Tensor:
        return tensors[tree]
    if kind is SuspectModel:
        copy = model.copy()
        copy.load_state_dict({name: tensors[key] for name, key in tree.items()})
        return copy
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        values = {
            item.name: _decode(hints[item.name], tree[item.name], tensors, model)
            for item in dataclasses.fields(kind)
        }
        return kind(**values)  # type: ignore[operator]
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if tree is None:
            return None
        kind = next(part for part in inner if part is not type(None))
        return _decode(kind, tree, tensors, model)
    if origin is not None and issubclass(origin, Mapping):
        return {key: _decode(inner[1], item, tensors, model) for key, item in tree}
    if origin is tuple and (len(inner) != 2 or inner[1] is not Ellipsis):
        parts = zip(inner, tree, strict=True)
        return tuple(_decode(part, item, tensors, model) for part, item in parts)
    if origin in (list, tuple):
        return origin(_decode(inner[0], item, tensors, model) for item in tree)
    return tree
