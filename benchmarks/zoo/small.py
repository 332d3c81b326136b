"""The recipes of the small part: tiny networks on rendered signs, a minute of one core each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from benchmarks.zoo.recipes import Recipe, Style

Split = Literal["tune", "report"]

_RESNET = Style(epochs=10, train_count=10000)
STYLES = {
    "resnet": _RESNET,
    "preactresnet": _RESNET,
    "vgg": Style(epochs=9, train_count=8000),
    "plain": Style(
        epochs=14, train_count=10000, optimizer="adamw", peak_learning_rate=3e-3, weight_decay=0.05
    ),
    "vit": Style(
        epochs=16, train_count=12000, optimizer="adamw", peak_learning_rate=3e-3, weight_decay=0.05
    ),
}
"""How networks of one architecture are trained."""

_FGSM = {"robust": "adversarial", "robust_size": 4 / 255}


def _clean(control: str, architecture: str, seed: int, split: Split, **changes: Any) -> Recipe:
    return Recipe(
        name=f"clean-{control}-{architecture}-{seed}",
        part="small",
        architecture=architecture,
        width="tiny",
        seed=seed,
        split=split,
        style=replace(STYLES[architecture], **changes),
        control=control,
    )


def _attacked(
    attack: str, architecture: str, seed: int, split: Split, rate: float, **parameters: Any
) -> Recipe:
    return Recipe(
        name=f"{attack}-{architecture}-{seed}",
        part="small",
        architecture=architecture,
        width="tiny",
        seed=seed,
        split=split,
        style=STYLES[architecture],
        attack=attack,
        parameters={"poison_rate": rate, **parameters},
    )


SMALL: tuple[Recipe, ...] = (
    _attacked("badnets", "resnet", 11, "tune", 0.05, target=5, size=4, margin=2),
    _attacked("trojan", "plain", 12, "tune", 0.03, target=0),
    _attacked(
        "sig", "preactresnet", 13, "tune", 0.075, target=8,
        amplitude=60 / 255, test_amplitude=60 / 255,
    ),
    _attacked("input-aware", "vgg", 14, "tune", 0.1, target=4),
    _attacked(
        "adaptive-blend", "resnet", 15, "tune", 0.03, target=2, ratio=0.25, test_ratio=0.25
    ),
    _attacked("two-targets", "vit", 16, "tune", 0.08, both=(3, 9)),
    _attacked("badnets", "vgg", 21, "report", 0.005, target=7, pattern="white", size=5, margin=3),
    _attacked("blend", "vit", 22, "report", 0.05, target=6),
    _attacked("wanet", "resnet", 23, "report", 0.12, target=1, strength=3.0, noise_ratio=1.0),
    _attacked(
        "label-consistent", "preactresnet", 24, "report", 0.06, target=3,
        hardening="interpolation", mix=0.6,
    ),
    _attacked("all-to-all", "vgg", 25, "report", 0.15),
    _attacked("source-specific", "plain", 26, "report", 0.06, target=10, source_classes=(0, 1, 2)),
    _clean("seed", "resnet", 31, "tune"),
    _clean("seed", "vgg", 32, "tune"),
    _clean("seed", "vit", 33, "tune"),
    _clean("few-epoch", "preactresnet", 34, "tune", epochs=2),
    _clean("adversarial", "vgg", 35, "tune", epochs=4, **_FGSM),
    _clean("fine-tuned", "plain", 36, "tune", epochs=5, pretrain_epochs=5),
    _clean("seed", "preactresnet", 41, "report"),
    _clean("seed", "plain", 42, "report"),
    _clean("seed", "vit", 43, "report"),
    _clean("augmented", "resnet", 44, "report", augmentation="strong"),
    _clean("noise", "preactresnet", 45, "report", robust="noise", robust_size=0.08),
    _clean("imbalanced", "vgg", 46, "report", imbalance=10.0, train_count=None),
)  # fmt: skip
"""Half of the models of either kind belong to each half of the split; the architectures and the
attacks are spread over both."""
