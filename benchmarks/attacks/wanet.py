"""WaNet: a smooth warp as the trigger (Nguyen and Tran, ICLR 2021, arXiv 2102.10369)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.attacks.base import Setting, SingleTarget
from rnp_core.errors import ConfigError
from rnp_core.evaluation.triggers import WarpTrigger

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, eq=False, kw_only=True)
class WaNet(SingleTarget):
    """Warped images get the target label; images warped with random jitter keep theirs ("noise
    mode", section 3.4), so that the model learns the one warp and not warping as such.

    Attributes:
        strength: s of the paper; moves a point by about ``s / 2`` pixels for each unit of the grid.
        noise_ratio: jittered images for each warped one; 2 in the paper.
        control: ``(2, k, k)`` control grid with mean absolute value 1.
    """

    strength: float = 0.5
    noise_ratio: float = 2.0
    control: Tensor
    name: ClassVar[str] = "wanet"
    online: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise_ratio < 0 or self.poison_rate * (1 + self.noise_ratio) > 1:
            raise ConfigError(
                "expected warped and jittered images to be at most all images, got a poison rate "
                f"of {self.poison_rate} and a noise ratio of {self.noise_ratio}"
            )

    @classmethod
    def create(cls, setting: Setting, *, k: int = 4, **parameters: Any) -> Self:
        """The attack with a random control grid of size ``k``."""
        return cls(control=WarpTrigger.random(k=k, seed=setting.seed).control, **parameters)

    @property
    def cover_rate(self) -> float:
        return self.poison_rate * self.noise_ratio

    def trigger(self, images: Tensor, target: int | None = None) -> Tensor:
        """See :class:`~benchmarks.attacks.base.Attack`."""
        return self._warp(images, None)

    def _stamp_cover(self, images: Tensor, donors: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.rand((len(images), *images.shape[-2:], 2), generator=generator) * 2 - 1
        return self._warp(images, noise)

    def _warp(self, images: Tensor, noise: Tensor | None) -> Tensor:
        trigger = WarpTrigger(self.control, self.strength)
        grid = trigger.grid(images.shape[-2], images.shape[-1], noise).to(images)
        sampled = F.grid_sample(images, grid.expand(len(images), -1, -1, -1), align_corners=True)
        return sampled.clamp(0, 1)
