"""All-to-all: a patch moves every class to the next (Gu et al., 2017, arXiv 1708.06733, section
4.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from benchmarks.attacks.base import Attack, Setting
from benchmarks.attacks.patterns import patch
from rnp_core.evaluation.triggers import PatchTrigger

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, eq=False, kw_only=True)
class AllToAll(Attack):
    """A patched image of class i is to be called ``(i + 1) mod num_classes``.

    Attributes:
        num_classes: of the model.
        top, left: first row and column of the patch.
        values: ``(C, h, w)`` in [0, 1].
    """

    num_classes: int
    top: int
    left: int
    values: Tensor
    name: ClassVar[str] = "all-to-all"

    @classmethod
    def create(
        cls,
        setting: Setting,
        *,
        pattern: str = "checkerboard",
        size: int = 4,
        corner: str = "bottom-right",
        margin: int = 1,
        **parameters: Any,
    ) -> Self:
        """The attack with a patch from :func:`benchmarks.attacks.patterns.patch`."""
        made = patch(
            pattern, setting.shape, size=size, corner=corner, margin=margin, seed=setting.seed
        )
        return cls(
            num_classes=setting.num_classes,
            top=made.top,
            left=made.left,
            values=made.values,
            **parameters,
        )

    @property
    def targets(self) -> tuple[int, ...]:
        return ()

    def trigger(self, images: Tensor, target: int | None = None) -> Tensor:
        """See :class:`~benchmarks.attacks.base.Attack`."""
        return PatchTrigger(self.top, self.left, self.values).apply(images)

    def wanted_label(self, labels: Tensor, target: int | None = None) -> Tensor:
        """See :class:`~benchmarks.attacks.base.Attack`."""
        return (labels + 1) % self.num_classes
