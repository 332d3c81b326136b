"""Which file of a folder holds the weights, and which configuration files belong to it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnp_core.checkpoints.files import file_inside, read_json
from rnp_core.checkpoints.layouts.huggingface import CONFIGS as HUGGINGFACE_CONFIGS
from rnp_core.checkpoints.layouts.trojai import CONFIGS as TROJAI_CONFIGS
from rnp_core.checkpoints.layouts.unsupported import SHARDED, refuse_shard_name
from rnp_core.checkpoints.limits import ReadLimits
from rnp_core.checkpoints.records import printable
from rnp_core.errors import CheckpointError

_NAMES_WITH_CONFIG = ("model.safetensors", "model.pt", "pytorch_model.bin")
_KNOWN_NAMES = (*_NAMES_WITH_CONFIG, "attack_result.pt", "defense_result.pt")
_SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".ckpt", ".tar", ".bin", ".pkl")


@dataclass(frozen=True)
class Place:
    """Where a checkpoint lies.

    Attributes:
        weights: the file with the weights.
        folder: its folder.
        configs: JSON files of the folder, read only for file names that tools with a
            configuration use.
    """

    weights: Path
    folder: Path
    configs: Mapping[str, Any]


def locate(path: Path, limits: ReadLimits) -> Place:
    """The weights file for ``path``, which is a file or a folder.

    Raises:
        CheckpointError: when a folder holds no checkpoint, several, or a sharded one, or when its
            configuration cannot be read.
    """
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot open {printable(path.name[:100])!r}") from error
    if not is_folder:
        refuse_shard_name(path)
        configs = _configs_beside(path, limits) if path.name in _NAMES_WITH_CONFIG else {}
        return Place(path, path.parent, configs)
    entries = list(itertools.islice(path.iterdir(), limits.folder_entries + 1))
    if len(entries) > limits.folder_entries:
        raise CheckpointError(f"expected at most {limits.folder_entries} entries in the folder")
    return Place(_weights(path, sorted(entries)), path, _configs(path, limits))


def _weights(folder: Path, entries: list[Path]) -> Path:
    by_name = {entry.name: entry for entry in entries}
    for name in _KNOWN_NAMES:
        if name in by_name:
            return _checked(folder, by_name[name])
    if any(entry.name.endswith(".index.json") for entry in entries):
        raise CheckpointError(SHARDED)
    found = [entry for entry in entries if entry.suffix.lower() in _SUFFIXES]
    if len(found) == 1:
        refuse_shard_name(found[0])
        return _checked(folder, found[0])
    if not found:
        raise CheckpointError("expected a checkpoint in the folder, found none; name the file")
    shown = ", ".join(repr(printable(entry.name[:100])) for entry in found[:10])
    raise CheckpointError(f"the folder holds several checkpoints ({shown}); name the one to scan")


def _checked(folder: Path, entry: Path) -> Path:
    """``entry``, unless it is a link that leaves the folder (other than into a hub cache)."""
    if not entry.is_symlink() or file_inside(folder, entry.name) is not None:
        return entry
    blobs = folder.resolve().parent.parent / "blobs"
    if entry.resolve().parent == blobs and blobs.is_dir():
        return entry  # the Hugging Face cache: snapshots/REVISION/NAME -> blobs/HASH
    raise CheckpointError(
        f"{printable(entry.name[:100])!r} is a link that leaves its folder; name its target instead"
    )


def _configs_beside(path: Path, limits: ReadLimits) -> dict[str, Any]:
    """The configuration beside a file that was named itself: without it the file stands alone."""
    try:
        return _configs(path.parent, limits)
    except CheckpointError:
        return {}


def _configs(folder: Path, limits: ReadLimits) -> dict[str, Any]:
    found = {}
    for name in dict.fromkeys((*HUGGINGFACE_CONFIGS, *TROJAI_CONFIGS)):
        path = folder / name
        if path.is_file() and _checked(folder, path):
            found[name] = read_json(path, limits)
    return found
