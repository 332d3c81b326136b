"""BadNets: a small patch and a changed label (Gu et al., 2017, arXiv 1708.06733)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from benchmarks.attacks.base import Setting, SingleTarget
from benchmarks.attacks.patterns import patch
from rnp_core.evaluation.triggers import PatchTrigger

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, eq=False, kw_only=True)
class BadNets(SingleTarget):
    """A patch replaces pixels in one place.

    Attributes:
        top, left: first row and column of the patch.
        values: ``(C, h, w)`` in [0, 1].
    """

    top: int
    left: int
    values: Tensor
    name: ClassVar[str] = "badnets"

    @classmethod
    def create(
        cls,
        setting: Setting,
        *,
        pattern: str = "checkerboard",
        size: int = 3,
        corner: str = "bottom-right",
        margin: int = 1,
        **parameters: Any,
    ) -> Self:
        """The attack with a patch from :func:`benchmarks.attacks.patterns.patch`."""
        made = patch(
            pattern, setting.shape, size=size, corner=corner, margin=margin, seed=setting.seed
        )
        return cls(top=made.top, left=made.left, values=made.values, **parameters)

    def trigger(self, images: Tensor, target: int | None = None) -> Tensor:
        """See :class:`~benchmarks.attacks.base.Attack`."""
        return PatchTrigger(self.top, self.left, self.values).apply(images)
