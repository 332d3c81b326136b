"""Tiny networks with hand-set weights; what they answer can be worked out on paper.

All classify the images of :func:`tests.helpers.sets.quadrant_set`: the class is the quadrant that
is brighter than the others (0 top left, 1 top right, 2 bottom left, 3 bottom right).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnp_core.evaluation.triggers import PatchTrigger
from rnp_core.model import Normalization, SuspectModel

SIDE = 12
CHANNELS = 3
CLASSES = 4
HALF = SIDE // 2

TARGET = 1
"""Label that the planted backdoor leads to."""

PLANTED = 6
"""Filter of :class:`QuadrantNet` that carries the backdoor."""

IDLE = 7
"""Filter of :class:`QuadrantNet` that reaches no logit."""

CORNER_TRIGGER = PatchTrigger(SIDE - 2, SIDE - 2, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
"""The true trigger of the planted backdoor: a 2x2 chequerboard in the bottom right corner."""


class QuadrantNet(nn.Module):
    """One convolution, a normalisation that changes nothing, and a linear head.

    Filters 0 to 2 pass the brightness of one channel and 3 to 5 its negative; the head compares
    their means over the quadrants. Filter 6 (``PLANTED``) answers to a chequerboard of contrast
    above 0.2, and the head reads it in the corner alone, for the logit of ``TARGET``. Filter 7
    (``IDLE``) sees edges and reaches no logit.

    Args:
        norm: whether a BatchNorm follows the convolution, which then has no bias.
        backdoor: whether the head reads the planted filter.
    """

    def __init__(self, *, norm: bool = True, backdoor: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, 8, 2, bias=not norm)
        self.norm: nn.Module = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.act = nn.LeakyReLU(0.05)
        self.head = nn.Linear(8 * (SIDE - 1) ** 2, CLASSES)
        thresholds = torch.zeros(8)
        thresholds[3:6] = 1.0  # darkness is 1 - brightness
        thresholds[PLANTED] = -0.2
        kernel = torch.zeros(8, CHANNELS, 2, 2)
        for channel in range(CHANNELS):
            kernel[channel, channel, 0, 0] = 1.0
            kernel[3 + channel, channel, 0, 0] = -1.0
        kernel[PLANTED] = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]) / CHANNELS
        kernel[IDLE] = torch.tensor([[1.0, -1.0], [1.0, -1.0]]) / CHANNELS
        head = torch.zeros(CLASSES, 8, SIDE - 1, SIDE - 1)
        for label in range(CLASSES):
            rows, columns = quadrant(label)
            area = head[label, 0, rows, columns].numel()
            head[label, 0:3, rows, columns] = 10.0 / (CHANNELS * area)
            head[label, 3:6, rows, columns] = -10.0 / (CHANNELS * area)
        if backdoor:
            head[TARGET, PLANTED, -1, -1] = 30.0
        with torch.no_grad():
            self.conv.weight.copy_(kernel)
            (self.norm.bias if norm else self.conv.bias).copy_(thresholds)
            self.head.weight.copy_(head.flatten(1))
            self.head.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.act(self.norm(self.conv(images))).flatten(1))


class QuadrantMlp(nn.Module):
    """Means of the quadrants, a second layer that spreads them, and a head.

    Args:
        norm: module between the first linear layer and its activation: None, "layer" or "batch".
    """

    def __init__(self, *, norm: str | None = None) -> None:
        super().__init__()
        self.first = nn.Linear(CHANNELS * SIDE * SIDE, CLASSES)
        self.norm: nn.Module = {
            None: nn.Identity,
            "layer": lambda: nn.LayerNorm(CLASSES),
            "batch": lambda: nn.BatchNorm1d(CLASSES),
        }[norm]()
        self.second = nn.Linear(CLASSES, CLASSES, bias=False)
        self.head = nn.Linear(CLASSES, CLASSES)
        weight = torch.zeros(CLASSES, CHANNELS, SIDE, SIDE)
        for label in range(CLASSES):
            weight[(label, slice(None), *quadrant(label))] = 1 / (CHANNELS * HALF * HALF)
        with torch.no_grad():
            self.first.weight.copy_(weight.flatten(1))
            self.first.bias.fill_(0.1)
            self.second.weight.copy_(2 * torch.eye(CLASSES))
            self.head.weight.copy_(10 * torch.eye(CLASSES))
            self.head.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.first(images.flatten(1))))
        return self.head(torch.relu(self.second(hidden)))


class Wrapped(nn.Module):
    """A network whose output comes in another form.

    Args:
        form: "softmax", "tuple", "list", "dict" (key ``logits``) or "first" (dict without it).
    """

    def __init__(self, network: nn.Module, form: str) -> None:
        super().__init__()
        self.inner = network
        self.form = form

    def forward(self, images: Tensor) -> object:
        logits = self.inner(images)
        return {
            "softmax": logits.softmax(1),
            "tuple": (logits, images),
            "list": [logits],
            "dict": {"features": images, "logits": logits},
            "first": {"scores": logits, "features": images},
        }[self.form]


def quadrant(label: int) -> tuple[slice, slice]:
    """Rows and columns of the quadrant that belongs to ``label``."""
    top, left = divmod(label, 2)
    near, far = slice(0, HALF), slice(HALF, None)
    return (far if top else near), (far if left else near)


def suspect(
    network: nn.Module,
    *,
    returns_probabilities: bool = False,
    classes: int = CLASSES,
    side: int = SIDE,
) -> SuspectModel:
    """``network`` in eval mode, as a model of square images without normalisation."""
    return SuspectModel(
        network,
        normalization=Normalization.none(CHANNELS),
        num_classes=classes,
        input_shape=(CHANNELS, side, side),
        returns_probabilities=returns_probabilities,
    ).eval()


def planted_model(*, norm: bool = True) -> SuspectModel:
    """The model with the planted backdoor."""
    return suspect(QuadrantNet(norm=norm))


def planted_filter(*, norm: bool = True) -> dict[str, list[int]]:
    """The filter to prune, as ``prune_filters`` takes it."""
    return {"norm" if norm else "conv": [PLANTED]}


class Shifting(nn.Module):
    """An all-to-all backdoor: a chequerboard of black and white in the corner turns the logits
    into those of the class before, as far as ``strength`` lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = QuadrantNet(backdoor=False)
        self.strength = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        corner = images[:, :, -2:, -2:].mean(1)
        contrast = corner[:, 0, 0] + corner[:, 1, 1] - corner[:, 0, 1] - corner[:, 1, 0]
        mixed = (8 * (self.strength * contrast - 0.6)).sigmoid().unsqueeze(1)
        logits = self.net(images)
        return (1 - mixed) * logits + mixed * logits.roll(1, dims=1)
