"""Models that nobody has looked at: the recipes of a part again, with other seeds and targets.

A reporting half serves once. Whoever changed a setting after a look at it trains fresh models and
reports on those.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

from benchmarks.zoo.recipes import CLASSES, Recipe


def fresh_recipes(recipes: Iterable[Recipe], seed: int) -> tuple[Recipe, ...]:
    """The recipes with seeds, target labels and source classes drawn anew by ``seed``, from 1."""
    return tuple(_fresh(recipe, seed) for recipe in recipes)


def _fresh(recipe: Recipe, seed: int) -> Recipe:
    draw = random.Random(f"{recipe.name}-{seed}")
    labels = draw.sample(range(CLASSES[recipe.part]), CLASSES[recipe.part])
    parameters = dict(recipe.parameters)
    if "target" in parameters:
        parameters["target"] = labels.pop()
    for name in ("both", "source_classes"):
        if name in parameters:
            parameters[name] = tuple(labels.pop() for _ in parameters[name])
    return replace(
        recipe,
        name=f"{recipe.name}-fresh{seed}",
        seed=recipe.seed + 10_000 * seed,
        split="fresh",
        parameters=parameters,
    )
