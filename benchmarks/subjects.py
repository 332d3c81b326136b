"""The models that the benchmark scans, with what is true about each of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.attacks import restore_attack
from benchmarks.images import ImagePaths, image_cache, shared_images, signs_images
from rnp_core.errors import DataError
from rnp_core.evaluation.triggers import TrueTrigger, trigger_from_card

Split = Literal["tune", "report", "fresh", "few", "shared"]
NO_ATTACK = "none"
SPLITS = ("tune", "report", "fresh", "few", "shared")


class AttackTruth(Protocol):
    """What the attacker knows; :class:`benchmarks.attacks.Attack` is one."""

    def trigger(self, images: Tensor, target: int | None = None) -> Tensor:
        """Triggered copies of ``images`` ``(N, C, H, W)`` in [0, 1]."""

    def wanted_label(self, labels: Tensor, target: int | None = None) -> Tensor:
        """The labels ``(N,)`` that the attacker wants for triggered images of ``labels``."""


@dataclass(frozen=True, eq=False)
class BenchmarkSubject:
    """One model of the benchmark.

    Attributes:
        name: unique within its part.
        checkpoint: the file to scan.
        clean: npz file with ``x`` (N, H, W, C) uint8 and ``y``; what the scan gets.
        test: npz file of other clean images, for the measurements.
        attack: ``"none"`` for a clean model, else the attack's name.
        control: for a clean model, what kind of control it is; else empty. ``"repaired"`` is a
            model whose backdoor somebody removed in part: neither clean nor backdoored.
        targets: target classes; empty for a clean model, and where the target depends on the
            image (all-to-all).
        sources: classes that the trigger works on; empty when on all but the target.
        architecture: family of the network, for tables.
        card: everything that its maker wrote down.
        split: settings are chosen on ``"tune"`` and reported on ``"report"``.
        truth: the attack; None for a clean model.
    """

    name: str
    checkpoint: Path
    clean: Path
    test: Path
    attack: str
    control: str
    targets: tuple[int, ...]
    sources: tuple[int, ...]
    architecture: str
    card: Mapping[str, Any]
    split: Split
    truth: AttackTruth | None = None

    def trigger(self, images: Tensor, target: int | None = None) -> Tensor:
        """Copies of ``images`` ``(N, C, H, W)`` in [0, 1] with the true trigger.

        Args:
            target: which of several targets; None: the first, or the only one.

        Raises:
            DataError: when the model has no trigger.
        """
        return self._truth().trigger(images, target)

    def wanted_label(self, labels: Tensor, target: int | None = None) -> Tensor:
        """The labels ``(N,)`` that the attacker wants for triggered images of ``labels``.

        Raises:
            DataError: when the model has no trigger.
        """
        return self._truth().wanted_label(labels, target)

    def _truth(self) -> AttackTruth:
        if self.truth is None:
            raise DataError(f"{self.name} has no trigger: it is a clean model")
        return self.truth


def read_zoo(folder: Path, *, images: Path | None = None) -> tuple[BenchmarkSubject, ...]:
    """The models that ``python -m benchmarks.zoo train`` wrote, in the order of their names.

    Every sub-folder with a ``card.json`` is a model: ``model.safetensors``, and
    ``trigger.safetensors`` where the trigger has tensors. Images lie in ``folder/images``; rendered
    signs are drawn into ``images`` when they are not there.

    Args:
        images: folder for rendered images; default :func:`benchmarks.images.image_cache`.

    Raises:
        DataError: when a card, a checkpoint's hash or a trigger is not as expected, or images are
            missing.
    """
    cards = sorted(folder.glob("*/card.json"))
    if not cards:
        raise DataError(
            f"expected folders with a card.json in {folder}, got none; train models with "
            "python -m benchmarks.zoo train"
        )
    return tuple(_zoo_subject(card, images or image_cache()) for card in cards)


def read_shared(shared: Path, *, images: Path | None = None) -> tuple[BenchmarkSubject, ...]:
    """The shared checkpoints with 500 clean images each, in the order of their names.

    Args:
        shared: folder with ``checkpoints`` and ``data``.
        images: where the image sets are written; default :func:`benchmarks.images.image_cache`.

    Raises:
        DataError: when the folder or a card is not as expected.
    """
    cards = sorted((shared / "checkpoints").glob("*/card.json"))
    if not cards:
        raise DataError(f"expected folders with a card.json in {shared / 'checkpoints'}, got none")
    cache = (images or image_cache()) / "shared"
    return tuple(_shared_subject(card, shared / "data", cache) for card in cards)


@dataclass(frozen=True)
class _OneTrigger:
    """A trigger that leads every image to one class."""

    true_trigger: TrueTrigger
    target: int

    def trigger(self, images: Tensor, target: int | None = None) -> Tensor:
        return self.true_trigger.apply(images)

    def wanted_label(self, labels: Tensor, target: int | None = None) -> Tensor:
        return torch.full_like(labels, self.target)


def _shared_subject(path: Path, data: Path, cache: Path) -> BenchmarkSubject:
    card = _read_card(path)
    found = trigger_from_card(path)
    backdoored = card["status"] == "backdoored" and found is not None
    paths = shared_images(card["dataset"], data, cache)
    return BenchmarkSubject(
        name=path.parent.name,
        checkpoint=path.parent / card["file"],
        clean=paths.clean,
        test=paths.test,
        attack=found[0].kind if backdoored and found else NO_ATTACK,
        control="" if backdoored else {"clean": "public"}.get(card["status"], card["status"]),
        targets=(card["target"],) if backdoored else (),
        sources=(),
        architecture=card["arch"]["family"],
        card=card,
        split="shared",
        truth=_OneTrigger(*found) if backdoored and found else None,
    )


def _zoo_subject(path: Path, cache: Path) -> BenchmarkSubject:
    card, folder = _read_card(path), path.parent
    try:
        checkpoint = folder / Path(card["file"]).name
        _check_hash(checkpoint, card["sha256"])
        attack = None
        if card["attack"] is not None:
            tensors = folder / "trigger.safetensors"
            attack = restore_attack(card["attack"], load_file(tensors) if tensors.exists() else {})
        if card["split"] not in SPLITS:
            raise DataError(f"expected a split among {', '.join(SPLITS)}, got {card['split']!r}")
        paths = _zoo_images(folder.parent / "images", str(card["dataset"]), cache)
        return BenchmarkSubject(
            name=card["name"],
            checkpoint=checkpoint,
            clean=paths.clean,
            test=paths.test,
            attack=NO_ATTACK if attack is None else attack.name,
            control=card["control"],
            targets=() if attack is None else attack.targets,
            sources=() if attack is None else attack.sources,
            architecture=card["architecture"],
            card=card,
            split=card["split"],
            truth=attack,
        )
    except KeyError as error:
        raise DataError(f"expected the entry {error} in {path}, got none") from error
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot read the model of {path}: {error}") from error


def _zoo_images(folder: Path, dataset: str, cache: Path) -> ImagePaths:
    paths = ImagePaths(folder / f"{dataset}-clean.npz", folder / f"{dataset}-test.npz")
    if paths.clean.exists() and paths.test.exists():
        return paths
    if dataset == "signs":
        return signs_images(cache)
    raise DataError(
        f"expected the images {paths.clean} and {paths.test}, which training writes; train one "
        "model of this part with the same --out, or copy them there"
    )


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if not isinstance(card, dict):
        raise DataError(f"expected an object in {path}, got {type(card).__name__}")
    return card


def _check_hash(checkpoint: Path, expected: str) -> None:
    found = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    if found != expected:
        raise DataError(
            f"expected {checkpoint} with the SHA-256 {expected} of its card, got {found}; train it "
            "again"
        )
