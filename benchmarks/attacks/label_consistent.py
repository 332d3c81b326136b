"""Label-consistent attack (Turner, Tsipras and Madry, 2019, arXiv 1912.02771)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from benchmarks.attacks.base import NOT_SAVED, Setting, SingleTarget
from benchmarks.attacks.patterns import CORNERS, patch
from benchmarks.attacks.surrogate import adversarial_images, require_surrogate
from rnp_core.errors import ConfigError

if TYPE_CHECKING:
    from typing import Self

HARDENINGS = ("adversarial", "interpolation")


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelConsistent(SingleTarget):
    """Images of the target class keep their label, are made hard to recognise, and get a small
    patch in all four corners, so that the patch is the easiest thing to learn.

    Attributes:
        hardening: ``"adversarial"`` perturbs against a surrogate; ``"interpolation"`` mixes in an
            image of another class. The paper interpolates in the latent space of a GAN; here it
            is done on pixels, which needs no generative model.
        epsilon: largest adversarial change of a value; the paper uses 8 to 32 / 255.
        steps: of PGD.
        mix: weight of the other image in an interpolation.
        amplitude: weight of the patch in training, (0, 1]; below 1 it is hard to see (section 4.3).
        mask: ``(1, H, W)`` of 0 and 1, the corners.
        pattern: ``(C, H, W)`` in [0, 1].
        surrogate: the classifier of :meth:`fitted`.
        others: ``(M, C, H, W)`` images of other classes to mix in.
    """

    hardening: str = "adversarial"
    epsilon: float = 16 / 255
    steps: int = 20
    mix: float = 0.4
    amplitude: float = 1.0
    mask: Tensor
    pattern: Tensor
    surrogate: nn.Module | None = field(default=None, repr=False, metadata=NOT_SAVED)
    others: Tensor | None = field(default=None, repr=False, metadata=NOT_SAVED)
    name: ClassVar[str] = "label-consistent"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hardening not in HARDENINGS:
            raise ConfigError(
                f"expected a hardening among {', '.join(HARDENINGS)}, got {self.hardening!r}"
            )

    @property
    def needs_surrogate(self) -> bool:
        return self.hardening == "adversarial"

    @classmethod
    def create(cls, setting: Setting, *, size: int = 3, **parameters: Any) -> Self:
        """The attack with a checkerboard of ``size`` pixels in each corner."""
        mask, pattern = torch.zeros(1, *setting.shape[1:]), torch.zeros(setting.shape)
        for corner in CORNERS:
            made = patch(
                "checkerboard", setting.shape, size=size, corner=corner, margin=0, seed=setting.seed
            )
            area = (slice(made.top, made.top + size), slice(made.left, made.left + size))
            mask[:, area[0], area[1]] = 1
            pattern[:, area[0], area[1]] = made.values
        return cls(mask=mask, pattern=pattern, **parameters)

    def fitted(
        self,
        images: Tensor,
        labels: Tensor,
        surrogate: nn.Module | None,
        generator: torch.Generator,
    ) -> Self:
        """The attack with what hardening needs."""
        if self.hardening == "adversarial":
            return dataclasses.replace(self, surrogate=require_surrogate(surrogate, self.name))
        return dataclasses.replace(self, others=images[labels != self.target])

    def trigger(self, images: Tensor, target: int | None = None) -> Tensor:
        """See :class:`~benchmarks.attacks.base.Attack`."""
        return (1 - self.mask) * images + self.mask * self.pattern

    def _candidates(self, labels: Tensor) -> Tensor:
        return labels == self.target

    def _stamp(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        hard = self._hardened(images, labels, generator)
        weight = self.amplitude * self.mask
        return (1 - weight) * hard + weight * self.pattern

    def _hardened(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        if self.hardening == "interpolation":
            if self.others is None:
                raise ConfigError("expected images of other classes; call fitted() first")
            chosen = torch.randint(0, len(self.others), (len(images),), generator=generator)
            return (1 - self.mix) * images + self.mix * self.others[chosen]
        model = require_surrogate(self.surrogate, self.name)
        device = next(model.parameters()).device
        settings = {"epsilon": self.epsilon, "steps": self.steps, "generator": generator}
        parts = [
            adversarial_images(model, x.to(device), y.to(device), **settings).cpu()  # type: ignore[arg-type]
            for x, y in zip(images.split(256), labels.split(256), strict=True)
        ]
        return torch.cat(parts)
