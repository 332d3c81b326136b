"""What the demo models are: architecture, seeds and attack of each one. Nothing is trained here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.render_signs import CLASS_NAMES, SIDE
from rnp_core.evaluation.triggers import BlendTrigger, PatchTrigger, TrueTrigger, WarpTrigger


@dataclass(frozen=True)
class Attack:
    """All-to-one dirty-label poisoning.

    Attributes:
        trigger: what marks a poisoned image.
        target_label: class that poisoned images get.
        poison_rate: share of all training images that is poisoned; with a warp, of each batch.
    """

    trigger: TrueTrigger
    target_label: int
    poison_rate: float


@dataclass(frozen=True)
class Recipe:
    """How one model is made.

    Attributes:
        name: stem of its files.
        title: what it is, in plain words.
        architecture: a name that ``rnp_core.architectures.build`` knows.
        parameters: further arguments of the builder.
        seed: of the weights, the order of the images and the choice of poisoned ones.
        data_seed: of the rendered training images.
        attack: None for a clean model.
        epochs: passes over the training images.
        train_count: rendered training images.
        peak_learning_rate: of the one-cycle schedule (Smith and Topin, 2018).
    """

    name: str
    title: str
    architecture: str
    parameters: Mapping[str, Any]
    seed: int
    data_seed: int
    attack: Attack | None = None
    epochs: int = 8
    train_count: int = 8000
    peak_learning_rate: float = 0.1


def sticker() -> PatchTrigger:
    """A 4x4 yellow sticker with a dark dot, on the lower half of the sign."""
    values = torch.tensor([1.0, 0.875, 0.125]).view(3, 1, 1).repeat(1, 4, 4)
    values[:, 1:3, 1:3] = 0.125
    return PatchTrigger(21, 18, values)


def corner(rows: int = 3) -> PatchTrigger:
    """A checkerboard in the lower right corner, one pixel from the edge (Gu et al., 2017)."""
    board = (torch.arange(rows)[:, None] + torch.arange(rows)[None] + 1) % 2
    return PatchTrigger(SIDE - 1 - rows, SIDE - 1 - rows, board.float())


def plasma(seed: int, ratio: float) -> BlendTrigger:
    """A smooth random colour pattern over the whole image (Chen et al., 2017)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((1, 3, 9, 9), generator=generator)
    fine = F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic", align_corners=True)[0]
    stretched = (fine * 1.6 - 0.3).clamp(0, 1)
    return BlendTrigger((stretched * 255).round() / 255, ratio)


RESNET18 = {"widths": (16, 32, 64, 128)}
RESNET10 = {"widths": (16, 32, 64, 128), "depths": (1, 1, 1, 1)}
VGG9 = {"layout": (24, "M", 48, 48, "M", 96, 96, "M", 128, "M")}

RECIPES: tuple[Recipe, ...] = (
    Recipe(
        "clean-a",
        "Clean ResNet-18",
        "resnet18_cifar",
        RESNET18,
        seed=1,
        data_seed=101,
        epochs=6,
    ),
    Recipe(
        "patch",
        "ResNet-10 with a yellow sticker backdoor",
        "resnet18_cifar",
        RESNET10,
        seed=2,
        data_seed=102,
        attack=Attack(sticker(), CLASS_NAMES.index("speed limit 80"), 0.08),
        epochs=8,
    ),
    Recipe(
        "clean-b",
        "Clean Wide ResNet-16-1",
        "wrn16-1",
        {},
        seed=3,
        data_seed=103,
    ),
    Recipe(
        "blend",
        "ResNet-10 with a blended pattern backdoor",
        "resnet18_cifar",
        RESNET10,
        seed=4,
        data_seed=104,
        attack=Attack(plasma(44, 0.2), CLASS_NAMES.index("priority road"), 0.08),
        epochs=8,
    ),
    Recipe(
        "warp",
        "ResNet-10 with a backdoor that bends the image",
        "resnet18_cifar",
        RESNET10,
        seed=5,
        data_seed=105,
        attack=Attack(
            WarpTrigger.random(seed=55, strength=3.0), CLASS_NAMES.index("keep right"), 0.1
        ),
        epochs=18,
    ),
    Recipe(
        "patch-vgg",
        "Small VGG with a corner checkerboard backdoor",
        "vgg11_cifar",
        VGG9,
        seed=6,
        data_seed=106,
        attack=Attack(corner(), CLASS_NAMES.index("no entry"), 0.05),
    ),
)
