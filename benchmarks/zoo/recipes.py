"""What a model of the zoo is: one frozen value, from which training follows with its seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rnp_core.errors import ConfigError

Part = Literal["small", "signs-2", "signs-3", "signs-5", "signs-8", "cifar10", "gtsrb"]
CLASSES: Mapping[Part, int] = {
    "small": 12, "signs-2": 2, "signs-3": 3, "signs-5": 5, "signs-8": 8, "cifar10": 10, "gtsrb": 43,
}  # fmt: skip
FEW: Mapping[Part, int] = {part: n for part, n in CLASSES.items() if part.startswith("signs-")}
"""Parts with the first few kinds of rendered signs only, and how many."""
CONTROLS = ("seed", "few-epoch", "augmented", "adversarial", "noise", "fine-tuned", "imbalanced")
"""Kinds of clean models."""


@dataclass(frozen=True)
class Style:
    """How a model is trained.

    Attributes:
        epochs: passes over the training images; of fine-tuning when ``pretrain_epochs`` is given.
        train_count: training images, drawn with the recipe's seed; None: all.
        batch_size: images a step.
        peak_learning_rate: of the one-cycle schedule (Smith and Topin, 2018).
        optimizer: ``"sgd"`` (Nesterov momentum 0.9) or ``"adamw"``.
        weight_decay: of the optimiser.
        augmentation: ``"light"`` (shift, and a flip where classes allow it) or ``"strong"`` (also
            scale, colour, contrast and erased rectangles).
        robust: ``"none"``, ``"adversarial"`` (PGD in the maximum norm on every batch) or
            ``"noise"`` (Gaussian).
        robust_size: largest adversarial change or standard deviation of the noise, in [0, 1].
        robust_steps: of PGD; 1 is FGSM with a random start.
        imbalance: images of the most frequent class for each of the rarest; 1 is balanced.
        pretrain_epochs: passes over the first half of the classes, with a head of their own, before
            the head is replaced and the network is fine-tuned on all classes; 0: none.
    """

    epochs: int
    train_count: int | None = None
    batch_size: int = 64
    peak_learning_rate: float = 0.1
    optimizer: Literal["sgd", "adamw"] = "sgd"
    weight_decay: float = 5e-4
    augmentation: Literal["light", "strong"] = "light"
    robust: Literal["none", "adversarial", "noise"] = "none"
    robust_size: float = 0.0
    robust_steps: int = 1
    imbalance: float = 1.0
    pretrain_epochs: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or self.imbalance < 1:
            raise ConfigError(
                "expected at least 1 epoch, batches of at least 2 and an imbalance of at least 1, "
                f"got {self.epochs}, {self.batch_size} and {self.imbalance}"
            )


@dataclass(frozen=True)
class Recipe:
    """How one model is made.

    Attributes:
        name: of its folder; unique within the part.
        part: of the benchmark; each has a data set.
        architecture: see :data:`benchmarks.zoo.architectures.ARCHITECTURES`.
        width: ``"tiny"``, ``"narrow"`` or ``"full"``.
        seed: of the weights, the order of images, the attack's patterns and its choices.
        split: the half of the benchmark that it belongs to; see :mod:`benchmarks.zoo.fresh`
            and :mod:`benchmarks.zoo.few`, whose models are in no half.
        style: of training.
        attack: name of the attack; None for a clean model.
        parameters: of the attack, ``poison_rate`` among them.
        control: the kind of clean model; empty for a backdoored one.
    """

    name: str
    part: Part
    architecture: str
    width: str
    seed: int
    split: Literal["tune", "report", "fresh", "few"]
    style: Style
    attack: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    control: str = ""

    def __post_init__(self) -> None:
        if (self.attack is None) != bool(self.control):
            raise ConfigError(f"expected {self.name} with an attack or as a control, not both")
        if self.control and self.control not in CONTROLS:
            raise ConfigError(
                f"expected a control among {', '.join(CONTROLS)}, got {self.control!r}"
            )

    @property
    def dataset(self) -> str:
        return "signs" if self.part == "small" else self.part

    def to_dict(self) -> dict[str, Any]:
        """A JSON form, for the card."""
        return _plain(asdict(self))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value
