"""A trained model as files: weights, the attack's tensors, and the card that tells the truth."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.attacks import Attack, restore_attack
from benchmarks.zoo.architectures import build_network
from benchmarks.zoo.datasets import TrainingData
from benchmarks.zoo.recipes import Recipe
from benchmarks.zoo.training import Machine, Trained, wrap
from rnp_core.metrics import clean_accuracy, predict
from rnp_core.model import SuspectModel

MODEL, TRIGGER, CARD = "model.safetensors", "trigger.safetensors", "card.json"


def is_done(recipe: Recipe, out: Path) -> bool:
    """Whether ``out`` holds the model of exactly this recipe."""
    folder = out / recipe.name
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        digest = hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()
    except (OSError, ValueError):
        return False
    return card.get("recipe") == recipe.to_dict() and card.get("sha256") == digest


def write_model(
    recipe: Recipe, trained: Trained, data: TrainingData, machine: Machine, out: Path
) -> dict[str, Any]:
    """Write ``out/NAME``, which appears whole or not at all; returns the card.

    The card's figures are measured with the files as they are read back.
    """
    partial = out / f".{recipe.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in trained.model.network.state_dict().items()
    }
    save_file(state, partial / MODEL, metadata={"format": "pt"})
    described, attack = None, None
    if trained.attack is not None:
        described = json.loads(json.dumps(trained.attack.to_dict()))
        tensors = {k: v.contiguous() for k, v in trained.attack.tensors().items()}
        if tensors:
            save_file(tensors, partial / TRIGGER)
        attack = restore_attack(described, load_file(partial / TRIGGER) if tensors else {})
    model = _read_back(recipe, data, partial / MODEL)
    card = {
        "name": recipe.name,
        "status": "clean" if attack is None else "backdoored",
        "control": recipe.control,
        "split": recipe.split,
        "part": recipe.part,
        "dataset": recipe.dataset,
        "file": MODEL,
        "sha256": hashlib.sha256((partial / MODEL).read_bytes()).hexdigest(),
        "size_bytes": (partial / MODEL).stat().st_size,
        "architecture": recipe.architecture,
        "width": recipe.width,
        "num_classes": len(data.class_names),
        "class_names": list(data.class_names),
        "normalization": {"mean": data.mean_std[0], "std": data.mean_std[1]},
        "seed": recipe.seed,
        "train_count": trained.train_count,
        "poisoned": trained.poisoned,
        "cover": trained.cover,
        "test_count": len(data.test),
        **measure(model, data, attack),
        "training_seconds": round(trained.seconds, 1),
        "training_cpu_seconds": round(trained.cpu_seconds, 1),
        "environment": {
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": machine.device.type,
            "precision": "bfloat16" if machine.bfloat16 else "float32",
            "threads": torch.get_num_threads(),
        },
        "attack": described,
        "recipe": recipe.to_dict(),
        "command": f"python -m benchmarks.zoo train --part {recipe.part} --only {recipe.name}",
    }
    (partial / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(out / recipe.name, ignore_errors=True)
    partial.rename(out / recipe.name)
    return card


def measure(model: SuspectModel, data: TrainingData, attack: Attack | None) -> dict[str, Any]:
    """Accuracy, and attack success with its count of images, on the test images.

    ``attack_success_rate`` has an entry for each target, ``"all"`` where it depends on the image.
    For a trigger that works on some classes only, ``attack_success_elsewhere`` is the share of
    triggered images of all other classes that are called the target too.
    """
    images, labels = data.test.images, data.test.labels
    values: dict[str, Any] = {"clean_accuracy": round(clean_accuracy(model, data.test), 4)}
    if attack is None:
        return values
    rates, counts = {}, {}
    targets: tuple[int | None, ...] = attack.targets or (None,)
    for target in targets:
        wanted = attack.wanted_label(labels, target)
        key = "all" if target is None else str(target)
        meant = wanted != labels
        if attack.sources:
            sourced = torch.isin(labels, torch.tensor(attack.sources))
            elsewhere = meant & ~sourced
            values["attack_success_elsewhere"] = _success(model, attack, images, wanted, elsewhere)
            meant &= sourced
        rates[key] = _success(model, attack, images, wanted, meant, target)
        counts[key] = int(meant.sum())
    return {**values, "attack_success_rate": rates, "attacked_images": counts}


def _success(
    model: SuspectModel,
    attack: Attack,
    images: Tensor,
    wanted: Tensor,
    meant: Tensor,
    target: int | None = None,
) -> float:
    with torch.no_grad():
        predicted = predict(model, attack.trigger(images[meant], target))
    return round(float((predicted == wanted[meant]).float().mean()), 4)


def _read_back(recipe: Recipe, data: TrainingData, path: Path) -> SuspectModel:
    classes = len(data.class_names)
    network = build_network(recipe.architecture, recipe.width, num_classes=classes)
    state = {
        name: value.float() if value.is_floating_point() else value
        for name, value in load_file(path).items()
    }
    network.load_state_dict(state, strict=True)
    return wrap(network.eval().requires_grad_(False), data, classes).eval()
