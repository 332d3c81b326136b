"""A-Blend, the adaptive blend (Qi et al., ICLR 2023, "Revisiting the assumption of latent
separability for backdoor defenses", section 4; preprint arXiv 2205.13613)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from benchmarks.attacks.base import Setting, SingleTarget
from benchmarks.attacks.patterns import picture as draw_picture
from rnp_core.errors import ConfigError
from rnp_core.evaluation.triggers import BlendTrigger

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, eq=False, kw_only=True)
class AdaptiveBlend(SingleTarget):
    """A picture is cut into pieces; each training image gets a random part of them, and images that
    keep their label get such parts too, so that the two do not separate in feature space. At test
    time the whole picture is blended in.

    Attributes:
        ratio: weight of the picture in training, in (0, 1]; the paper uses 0.2 on CIFAR-10.
        test_ratio: weight of the picture at test time.
        pieces: rows and columns of pieces; the paper cuts CIFAR-10 images into 4 x 4.
        kept: share of the pieces that a training image gets; the paper uses one half.
        covered: share of all training images that are cover images. The paper's conservatism ratio
            is ``covered / (covered + poison_rate)``, one half on CIFAR-10.
        image: ``(C, H, W)`` in [0, 1].
    """

    ratio: float = 0.2
    test_ratio: float = 0.2
    pieces: int = 4
    kept: float = 0.5
    covered: float
    image: Tensor
    name: ClassVar[str] = "adaptive-blend"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.kept <= 1 and self.pieces > 0 and 0 <= self.covered < 1):
            raise ConfigError(
                "expected kept in (0, 1], pieces above 0 and covered in [0, 1), got "
                f"{self.kept}, {self.pieces} and {self.covered}"
            )

    @classmethod
    def create(cls, setting: Setting, *, picture: str = "face", **parameters: Any) -> Self:
        """The attack with a picture; as many cover as poisoned images unless told otherwise."""
        image = draw_picture(picture, setting.shape, seed=setting.seed)
        return cls(**{"covered": parameters.get("poison_rate"), "image": image, **parameters})

    @property
    def cover_rate(self) -> float:
        return self.covered

    def trigger(self, images: Tensor, target: int | None = None) -> Tensor:
        """See :class:`~benchmarks.attacks.base.Attack`."""
        return BlendTrigger(self.image, self.test_ratio).apply(images)

    def _stamp(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        where = self._some_pieces(len(images), images.shape[-2:], generator)
        return torch.where(where, BlendTrigger(self.image, self.ratio).apply(images), images)

    def _stamp_cover(self, images: Tensor, donors: Tensor, generator: torch.Generator) -> Tensor:
        return self._stamp(images, images, generator)

    def _some_pieces(self, count: int, size: torch.Size, generator: torch.Generator) -> Tensor:
        """``(count, 1, H, W)`` bool: a random choice of pieces for each image."""
        total = self.pieces**2
        order = torch.rand((count, total), generator=generator).argsort(1).argsort(1)
        chosen = (order < round(self.kept * total)).view(count, 1, self.pieces, self.pieces)
        rows, columns = (torch.arange(side) * self.pieces // side for side in size)
        return chosen[:, :, rows][..., columns]
