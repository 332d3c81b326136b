"""Trojan-style pattern: a square or watermark optimised to excite one unit (Liu et al., NDSS 2018,
"Trojaning attack on neural networks")."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from benchmarks.attacks.base import Setting, SingleTarget
from benchmarks.attacks.patterns import watermark
from benchmarks.attacks.surrogate import hidden_features, last_linear, require_surrogate
from rnp_core.errors import ConfigError

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, eq=False, kw_only=True)
class Trojan(SingleTarget):
    """``(1 - mask) x + mask pattern``, the pattern being grown by gradient ascent.

    Differs from the paper: the unit is the one of the last hidden layer with the largest sum of
    absolute weights to the next layer (the paper sums the weights from the layer before, which not
    every architecture has), the images are real ones, and the model is trained from scratch on
    poisoned images instead of being retrained on reverse-engineered ones.

    Attributes:
        steps: of gradient ascent (Adam).
        learning_rate: of gradient ascent, in image units.
        mask: ``(1, H, W)`` in [0, 1], the opacity of the pattern.
        pattern: ``(C, H, W)`` in [0, 1].
    """

    steps: int = 100
    learning_rate: float = 0.05
    mask: Tensor
    pattern: Tensor
    name: ClassVar[str] = "trojan"

    @property
    def needs_surrogate(self) -> bool:
        return True

    @classmethod
    def create(
        cls, setting: Setting, *, form: str = "square", size: int = 6, **parameters: Any
    ) -> Self:
        """A ``form`` of ``"square"`` (opaque, ``size`` pixels, lower right) or ``"watermark"``
        (strokes at 70 % opacity); noise until :meth:`fitted`."""
        channels, height, width = setting.shape
        if form == "square":
            mask = torch.zeros(1, height, width)
            mask[:, height - size - 2 : height - 2, width - size - 2 : width - 2] = 1
        elif form == "watermark":
            mask = 0.7 * watermark(setting.shape)
        else:
            raise ConfigError(f"expected the form square or watermark, got {form!r}")
        generator = torch.Generator().manual_seed(setting.seed)
        noise = torch.rand((channels, height, width), generator=generator)
        return cls(mask=mask, pattern=noise * (mask > 0), **parameters)

    def fitted(
        self,
        images: Tensor,
        labels: Tensor,
        surrogate: nn.Module | None,
        generator: torch.Generator,
    ) -> Self:
        """The attack with the pattern that excites the surrogate's unit; in 8-bit values."""
        model = require_surrogate(surrogate, self.name)
        features, weight = hidden_features(model), last_linear(model).weight.detach()
        unit = int(weight.abs().sum(0).argmax())
        device = weight.device
        sample = images[torch.randperm(len(images), generator=generator)[:64]].to(device)
        mask, pattern = self.mask.to(device), self.pattern.to(device).clone()
        pattern.requires_grad_(True)
        optimizer = torch.optim.Adam([pattern], lr=self.learning_rate)
        for _ in range(self.steps):
            excited = features((1 - mask) * sample + mask * pattern)[:, unit].mean()
            (gradient,) = torch.autograd.grad(-excited, pattern)
            pattern.grad = gradient
            optimizer.step()
            with torch.no_grad():
                pattern.clamp_(0, 1)
        grown = (pattern.detach().cpu() * 255).round() / 255
        return dataclasses.replace(self, pattern=grown * (self.mask > 0))

    def trigger(self, images: Tensor, target: int | None = None) -> Tensor:
        """See :class:`~benchmarks.attacks.base.Attack`."""
        return (1 - self.mask) * images + self.mask * self.pattern
