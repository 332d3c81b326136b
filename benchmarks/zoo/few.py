"""The recipes with few classes: tiny networks on rendered signs of the first 2, 3, 5 or 8 kinds.

With few classes there are few innocent labels to compare one with, and a wrong answer has few
places to go. No setting was chosen on these models.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.zoo.recipes import FEW, Part, Recipe
from benchmarks.zoo.small import STYLES


def few_recipes(part: Part) -> tuple[Recipe, ...]:
    """Two clean models and two with a backdoor, with as many classes as ``part`` says."""
    count = FEW[part]
    target = count - 1
    attacked: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("badnets", "resnet", {"poison_rate": 0.05, "target": 0, "size": 4, "margin": 2}),
        ("blend", "vgg", {"poison_rate": 0.08, "target": target}),
    )
    backdoored = [
        _recipe(part, attack, architecture, 100 * count + number, attack=attack, parameters=values)
        for number, (attack, architecture, values) in enumerate(attacked, start=1)
    ]
    clean = [
        _recipe(part, "clean-seed", architecture, 100 * count + number, control="seed")
        for number, architecture in enumerate(("resnet", "vgg"), start=11)
    ]
    return (*backdoored, *clean)


def _recipe(part: Part, start: str, architecture: str, seed: int, **values: Any) -> Recipe:
    return Recipe(
        name=f"{start}-{architecture}-{seed}",
        part=part,
        architecture=architecture,
        width="tiny",
        seed=seed,
        split="few",
        style=replace(STYLES[architecture], train_count=None, epochs=12),
        **values,
    )
