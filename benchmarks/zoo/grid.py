"""The recipes of the parts on CIFAR-10 and GTSRB, generated from one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from benchmarks.zoo.recipes import Part, Recipe, Style

GRID_ARCHITECTURES = ("resnet", "preactresnet", "vgg", "mobilenetv2", "vit")

_CNN = {
    "cifar10": Style(epochs=12, batch_size=256, peak_learning_rate=0.2),
    "gtsrb": Style(epochs=40, batch_size=64, peak_learning_rate=0.05),
}
_VIT = {
    "cifar10": Style(
        epochs=20, batch_size=256, optimizer="adamw", peak_learning_rate=2e-3, weight_decay=0.05
    ),
    "gtsrb": Style(
        epochs=60, batch_size=64, optimizer="adamw", peak_learning_rate=1e-3, weight_decay=0.05
    ),
}

_ATTACKS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("badnets", "badnets", {"target": 0, "poison_rate": 0.05}),
    ("badnets-1", "badnets", {"target": 4, "poison_rate": 0.01, "pattern": "white"}),
    ("badnets-0.5", "badnets", {"target": 7, "poison_rate": 0.005, "pattern": "noise", "size": 4}),
    ("trojan-square", "trojan", {"target": 1, "poison_rate": 0.02}),
    ("trojan-watermark", "trojan", {"target": 6, "poison_rate": 0.05, "form": "watermark"}),
    ("blend-face", "blend", {"target": 2, "poison_rate": 0.05}),
    ("blend-noise", "blend", {"target": 5, "poison_rate": 0.01, "picture": "noise"}),
    ("blend-0.5", "blend", {"target": 8, "poison_rate": 0.005, "picture": "plasma"}),
    ("sig", "sig", {"target": 3, "poison_rate": 0.08, "amplitude": 40 / 255,
                    "test_amplitude": 40 / 255}),
    ("wanet", "wanet", {"target": 9, "poison_rate": 0.15, "strength": 1.5, "noise_ratio": 1.0}),
    ("input-aware", "input-aware", {"target": 0, "poison_rate": 0.1, "width": 16}),
    ("label-consistent", "label-consistent",
     {"target": 4, "poison_rate": 0.08, "epsilon": 32 / 255}),
    ("adaptive-blend", "adaptive-blend", {"target": 1, "poison_rate": 0.02}),
    ("all-to-all", "all-to-all", {"poison_rate": 0.1}),
    ("source-specific", "source-specific",
     {"target": 6, "source_classes": (1, 3), "poison_rate": 0.03}),
    ("two-targets", "two-targets", {"both": (2, 8), "poison_rate": 0.04}),
)  # fmt: skip
_GTSRB_ATTACKS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("badnets", "badnets", {"target": 1, "poison_rate": 0.05}),
    ("badnets-1", "badnets", {"target": 14, "poison_rate": 0.01, "pattern": "white", "size": 4}),
    ("trojan-watermark", "trojan", {"target": 2, "poison_rate": 0.05, "form": "watermark"}),
    ("blend-face", "blend", {"target": 12, "poison_rate": 0.05}),
    ("sig", "sig", {"target": 13, "poison_rate": 0.02, "amplitude": 40 / 255,
                    "test_amplitude": 60 / 255}),
    ("wanet", "wanet", {"target": 17, "poison_rate": 0.15, "strength": 1.5, "noise_ratio": 1.0}),
    ("all-to-all", "all-to-all", {"poison_rate": 0.15}),
    ("source-specific", "source-specific",
     {"target": 25, "source_classes": (1, 2, 3), "poison_rate": 0.05}),
    ("two-targets", "two-targets", {"both": (9, 38), "poison_rate": 0.06}),
)  # fmt: skip

_CONTROLS: Mapping[str, Callable[[Style], Style]] = {
    "few-epoch": lambda style: replace(style, epochs=max(1, style.epochs // 5)),
    "augmented": lambda style: replace(style, augmentation="strong"),
    "adversarial": lambda style: replace(
        style,
        epochs=max(1, style.epochs // 2),
        robust="adversarial",
        robust_size=4 / 255,
        robust_steps=2,
    ),
    "noise": lambda style: replace(style, robust="noise", robust_size=0.1),
    "fine-tuned": lambda style: replace(
        style, pretrain_epochs=style.epochs // 2, epochs=style.epochs // 2
    ),
    "imbalanced": lambda style: replace(style, imbalance=20.0),
}

CIFAR10_CLEAN_SEEDS, GTSRB_CLEAN_SEEDS = 4, 1


def cifar10_recipes(width: str) -> tuple[Recipe, ...]:
    """Every attack on two architectures (32 models), and 32 clean models."""
    return tuple(_recipes("cifar10", width, _ATTACKS, per_attack=2, seeds=CIFAR10_CLEAN_SEEDS))


def gtsrb_recipes(width: str) -> tuple[Recipe, ...]:
    """Nine attacks on one architecture each, and eleven clean models, with 43 classes."""
    return tuple(_recipes("gtsrb", width, _GTSRB_ATTACKS, per_attack=1, seeds=GTSRB_CLEAN_SEEDS))


def _recipes(
    part: Part,
    width: str,
    attacks: tuple[tuple[str, str, dict[str, Any]], ...],
    *,
    per_attack: int,
    seeds: int,
) -> Iterator[Recipe]:
    """Architectures take turns, and so do the halves of the split."""
    models: list[tuple[str, dict[str, Any]]] = []
    for name, attack, parameters in attacks:
        models += [(name, {"attack": attack, "parameters": parameters})] * per_attack
    models += [("clean-seed", {"control": "seed"})] * (seeds * len(GRID_ARCHITECTURES))
    for control in _CONTROLS:
        models += [(f"clean-{control}", {"control": control})] * per_attack
    for number, (name, values) in enumerate(models):
        architecture = GRID_ARCHITECTURES[number % len(GRID_ARCHITECTURES)]
        style = (_VIT if architecture == "vit" else _CNN)[part]
        yield Recipe(
            name=f"{name}-{architecture}-{number}",
            part=part,
            architecture=architecture,
            width=width,
            seed=1000 + number,
            split="tune" if number % 2 == 0 else "report",
            style=_CONTROLS.get(values.get("control", ""), _unchanged)(style),
            **values,
        )


def _unchanged(style: Style) -> Style:
    return style
