"""The built-in demo: small models of rendered traffic signs, and the images to scan them with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnp_core.errors import RnpError

ASSETS_VARIABLE = "RNP_ASSETS"
"""Environment variable with the path of the assets folder, for installs without a repository."""

_BESIDE_PACKAGE = Path(__file__).resolve().parents[1] / "assets"


@dataclass(frozen=True, eq=False)
class DemoModel:
    """One demo model and its images.

    Attributes:
        name: short name, for example ``"patch"``.
        title: what it is, in plain words.
        checkpoint: the weights, a safetensors file.
        clean: npz file of clean labelled images (``x``, ``y``, ``class_names``).
        suspects: npz file of clean and triggered images (``x``, ``is_poisoned``), or None for a
            clean model.
        card: how it was made and what it does: ``status`` (``"clean"`` or ``"backdoored"``),
            ``architecture``, ``normalization``, ``clean_accuracy``, ``attack_success_rate``,
            ``target``, ``trigger``, ``sha256`` and more.
    """

    name: str
    title: str
    checkpoint: Path
    clean: Path
    suspects: Path | None
    card: Mapping[str, Any]


def list_demos() -> tuple[DemoModel, ...]:
    """All demo models, sorted by name.

    Raises:
        RnpError: when the assets are missing or incomplete.
    """
    folder = _folder()
    cards = sorted((folder / "models").glob("*.json"), key=lambda path: path.stem)
    if not cards:
        raise RnpError(
            f"expected the cards of the demo models in {folder / 'models'}, found none; make them "
            "with: python -m scripts.train_demo_models"
        )
    return tuple(_read(card, folder) for card in cards)


def find_demo(name: str) -> DemoModel:
    """The demo model called ``name``.

    Raises:
        RnpError: when there is none of this name, or as :func:`list_demos` does.
    """
    demos = list_demos()
    for demo in demos:
        if demo.name == name:
            return demo
    known = ", ".join(demo.name for demo in demos)
    raise RnpError(f"expected the name of a demo model, got {name!r}. Known: {known}")


def _folder() -> Path:
    given = os.environ.get(ASSETS_VARIABLE)
    folder = (Path(given) if given else _BESIDE_PACKAGE) / "demo"
    if not folder.is_dir():
        raise RnpError(
            f"expected the demo assets in {folder}, found no such folder; run from a checkout of "
            f"the repository, or set {ASSETS_VARIABLE} to its assets folder"
        )
    return folder


def _read(path: Path, folder: Path) -> DemoModel:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        name, title, status = card["name"], card["title"], card["status"]
        checkpoint = path.with_name(card["file"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RnpError(f"cannot read the demo card {path}: {error!r}") from error
    clean = folder / "clean.npz"
    suspects = None if status == "clean" else folder / f"suspects-{name}.npz"
    for needed in (checkpoint, clean, suspects):
        if needed is not None and not needed.is_file():
            raise RnpError(f"the demo model {name!r} is incomplete: {needed} is missing")
    return DemoModel(name, title, checkpoint, clean, suspects, card)
