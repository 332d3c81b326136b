"""Which models a fleet is made of: a folder, a list, or rounds of model folders."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from rnp_core.errors import ConfigError
from rnp_core.jobs.identity import EXAMPLE_FOLDERS

SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".ckpt", ".tar", ".bin", ".pkl")
"""Names of checkpoint files end so."""

_WHOLE_FOLDERS = (
    *(("model.pt", images) for images in EXAMPLE_FOLDERS), ("model.safetensors", "config.json"),
)
"""A folder with both is one model: TrojAI rounds, and what Hugging Face and timm save."""

_MOST = 5_000_000


@dataclass(frozen=True)
class FleetModel:
    """One checkpoint of a fleet.

    Attributes:
        path: checkpoint file or folder; absolute.
        clean: its own clean images, or None to take those of the fleet.
        brings_images: whether clean images came with it.
    """

    path: Path
    clean: Path | None = None
    brings_images: bool = False


def find_models(source: Path) -> list[FleetModel]:
    """The models of a fleet, in order of their paths, or of the list.

    Args:
        source: a folder, searched with all that is below it (hidden and run folders aside), or a
            text file: a path a line, or with commas also the model's own clean images
            (``model.pt,images.npz``). Empty lines and lines that begin with ``#`` do not count;
            relative paths start at the file's folder.

    Raises:
        ConfigError: when there is nothing to scan or the list cannot be read.
    """
    source = source.expanduser().absolute()
    if source.is_dir():
        models = _in_folder(source)
    elif source.is_file():
        models = _in_list(source)
    else:
        raise ConfigError(f"expected a folder or a list of checkpoints, there is no {source}")
    if not models:
        kinds = ", ".join(SUFFIXES)
        raise ConfigError(f"expected checkpoints ({kinds}) in {source}, found none")
    return models


def _in_folder(folder: Path) -> list[FleetModel]:
    models: list[FleetModel] = []
    pending = [folder]
    while pending:
        place = pending.pop()
        try:
            entries = sorted(place.iterdir())
        except OSError as error:
            if place == folder:
                raise ConfigError(f"cannot read {place}: {error.strerror}") from error
            models.append(FleetModel(place))  # becomes a row with its error
            continue
        names = {entry.name for entry in entries}
        if any(names.issuperset(pair) for pair in _WHOLE_FOLDERS):
            models.append(FleetModel(place, brings_images=not names.isdisjoint(EXAMPLE_FOLDERS)))
            continue
        if "report.json" in names:  # a run folder: its repaired model is no suspect
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir() and not entry.is_symlink():
                pending.append(entry)
            elif entry.suffix.lower() in SUFFIXES and entry.is_file():
                models.append(FleetModel(entry))
        if len(models) > _MOST:
            raise ConfigError(f"expected at most {_MOST} checkpoints below {folder}")
    return sorted(models, key=lambda model: model.path)


def _in_list(path: Path) -> list[FleetModel]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the list {path}: {error}") from error
    models = []
    for row in csv.reader(line for line in lines if line.strip() and not line.startswith("#")):
        name, own = row[0].strip(), row[1].strip() if len(row) > 1 else ""
        if name == "path":  # a header
            continue
        model = path.parent / name
        brings = any((model / images).is_dir() for images in EXAMPLE_FOLDERS)
        models.append(FleetModel(model, path.parent / own if own else None, brings))
    return models
