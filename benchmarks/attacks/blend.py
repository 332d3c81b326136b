"""Blend: a picture or noise over the whole image (Chen et al., 2017, arXiv 1712.05526)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from benchmarks.attacks.base import Setting, SingleTarget
from benchmarks.attacks.patterns import picture as draw_picture
from rnp_core.evaluation.triggers import BlendTrigger

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, eq=False, kw_only=True)
class Blend(SingleTarget):
    """``(1 - ratio) x + ratio image``.

    Attributes:
        ratio: weight of the picture, in (0, 1].
        image: ``(C, H, W)`` in [0, 1].
    """

    ratio: float = 0.2
    image: Tensor
    name: ClassVar[str] = "blend"

    @classmethod
    def create(cls, setting: Setting, *, picture: str = "face", **parameters: Any) -> Self:
        """The attack with a picture from :func:`benchmarks.attacks.patterns.picture`."""
        return cls(image=draw_picture(picture, setting.shape, seed=setting.seed), **parameters)

    def trigger(self, images: Tensor, target: int | None = None) -> Tensor:
        """See :class:`~benchmarks.attacks.base.Attack`."""
        return BlendTrigger(self.image, self.ratio).apply(images)
