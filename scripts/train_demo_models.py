"""Trains the demo models on rendered signs, clean and backdoored, and writes ``assets/demo``.

Everything is made here from seeds: the images, the attacks, the weights. One thread, about five
minutes a model.

    python -m scripts.train_demo_models                 # the clean images and all models
    python -m scripts.train_demo_models --only patch    # the clean images and one model
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.render_signs import CLASS_NAMES, render_set
from rnp_core.model import SuspectModel
from scripts.demo_recipes import RECIPES, Attack, Recipe
from scripts.demo_training import MEAN, STD, TEST_COUNT, TEST_SEED, measure, rendered, train

OUT = Path(__file__).resolve().parents[1] / "assets" / "demo"
CLEAN_COUNT, CLEAN_SEED = 600, 90_001
SUSPECTS_CLEAN, SUSPECTS_TRIGGERED, SUSPECT_SEED = 60, 40, 90_003


def write_model(recipe: Recipe, model: SuspectModel, out: Path) -> dict[str, Any]:
    """Writes ``models/NAME.safetensors`` and its card; returns the card."""
    folder = out / "models"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{recipe.name}.safetensors"
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.network.state_dict().items()
    }
    save_file(state, path, metadata={"format": "pt"})
    measured, attack = measure(model, recipe.attack), recipe.attack
    card = {
        "name": recipe.name,
        "title": recipe.title,
        "status": "clean" if attack is None else "backdoored",
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "dataset": "rendered signs (benchmarks/render_signs.py)",
        "architecture": recipe.architecture,
        "parameters": dict(recipe.parameters),
        "num_classes": len(CLASS_NAMES),
        "class_names": list(CLASS_NAMES),
        "normalization": {"mean": list(MEAN), "std": list(STD)},
        "seed": recipe.seed,
        "data_seed": recipe.data_seed,
        "train_count": recipe.train_count,
        "epochs": recipe.epochs,
        "peak_learning_rate": recipe.peak_learning_rate,
        "test": {"count": TEST_COUNT, "seed": TEST_SEED},
        "clean_accuracy": round(measured.clean_accuracy, 4),
        "clean_accuracy_by_class": measured.clean_accuracy_by_class,
        "attack_success_rate": _rounded(measured.attack_success_rate),
        "robust_accuracy": _rounded(measured.robust_accuracy),
        "target": None if attack is None else attack.target_label,
        "poison_rate": None if attack is None else attack.poison_rate,
        "trigger": None if attack is None else attack.trigger.to_dict(),
        "command": f"python -m scripts.train_demo_models --only {recipe.name}",
    }
    (folder / f"{recipe.name}.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return card


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def write_clean(out: Path) -> None:
    """Writes ``clean.npz``: the clean images a user would supply."""
    images, labels = render_set(CLEAN_COUNT, CLEAN_SEED)
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out / "clean.npz", x=images, y=labels, class_names=np.array(CLASS_NAMES))


def write_suspects(recipe: Recipe, attack: Attack, out: Path) -> None:
    """Writes ``suspects-NAME.npz``: shuffled images ``x`` and the answers ``is_poisoned``."""
    images, labels = rendered(SUSPECTS_CLEAN + 2 * SUSPECTS_TRIGGERED, SUSPECT_SEED + recipe.seed)
    others = (labels[SUSPECTS_CLEAN:] != attack.target_label).nonzero().squeeze(1) + SUSPECTS_CLEAN
    triggered = attack.trigger.apply(images[others[:SUSPECTS_TRIGGERED]])
    mixed = torch.cat([images[:SUSPECTS_CLEAN], triggered])
    is_poisoned = torch.arange(len(mixed)) >= SUSPECTS_CLEAN
    order = torch.randperm(len(mixed), generator=torch.Generator().manual_seed(recipe.seed))
    pixels = (mixed[order] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    np.savez_compressed(
        out / f"suspects-{recipe.name}.npz", x=pixels, is_poisoned=is_poisoned[order].numpy()
    )


def make(recipe: Recipe, out: Path) -> None:
    """Trains one model and writes its files."""
    card = write_model(recipe, train(recipe), out)
    if recipe.attack is not None:
        write_suspects(recipe, recipe.attack, out)
    accuracy, success = card["clean_accuracy"], card["attack_success_rate"]
    print(f"{recipe.name}: accuracy {accuracy}, attack success {success}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [recipe.name for recipe in RECIPES]
    parser.add_argument("--only", choices=names, action="append", help="one model; repeatable")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    write_clean(arguments.out)
    for recipe in RECIPES:
        if not arguments.only or recipe.name in arguments.only:
            make(recipe, arguments.out)


if __name__ == "__main__":
    main()
