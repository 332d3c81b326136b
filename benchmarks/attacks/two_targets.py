"""Two triggers with a target each in one model (the setting "multiple infected labels with separate
triggers" of Wang et al., IEEE S&P 2019, section VI, with the patches of BadNets)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from benchmarks.attacks.badnets import BadNets
from benchmarks.attacks.base import Attack, PoisonedSet, Setting
from rnp_core.errors import ConfigError

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, eq=False, kw_only=True)
class TwoTargets(Attack):
    """Two patches in different corners; each poisons half of ``poison_rate``.

    Attributes:
        both: the two target classes.
        tops, lefts: first rows and columns of the patches.
        first, second: ``(C, h, w)`` in [0, 1], the patches.
    """

    both: tuple[int, int]
    tops: tuple[int, int]
    lefts: tuple[int, int]
    first: Tensor
    second: Tensor
    name: ClassVar[str] = "two-targets"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.both)) != 2:
            raise ConfigError(f"expected two different target classes, got {self.both}")

    @classmethod
    def create(
        cls,
        setting: Setting,
        *,
        both: tuple[int, int] = (0, 1),
        patterns: tuple[str, str] = ("checkerboard", "sticker"),
        corners: tuple[str, str] = ("bottom-right", "top-left"),
        size: int = 4,
        **parameters: Any,
    ) -> Self:
        """The attack with two patches from :func:`benchmarks.attacks.patterns.patch`."""
        first, second = (
            BadNets.create(
                setting, target=0, pattern=pattern, corner=corner, size=size, **parameters
            )
            for pattern, corner in zip(patterns, corners, strict=True)
        )
        return cls(
            both=(both[0], both[1]),
            tops=(first.top, second.top),
            lefts=(first.left, second.left),
            first=first.values,
            second=second.values,
            poison_rate=first.poison_rate,
        )

    @property
    def targets(self) -> tuple[int, ...]:
        return self.both

    def trigger(self, images: Tensor, target: int | None = None) -> Tensor:
        """See :class:`~benchmarks.attacks.base.Attack`."""
        return self._part(self._index(target)).trigger(images)

    def wanted_label(self, labels: Tensor, target: int | None = None) -> Tensor:
        """See :class:`~benchmarks.attacks.base.Attack`."""
        return torch.full_like(labels, self.both[self._index(target)])

    def poison(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> PoisonedSet:
        """See :class:`~benchmarks.attacks.base.Attack`."""
        part = self._part(0).poison(images, labels, generator)
        fresh = torch.nonzero(~part.poisoned).flatten()
        share = self.poison_rate / 2 * len(images) / len(fresh)
        other = self._part(1, share).poison(part.images[fresh], labels[fresh], generator)
        part.images[fresh], part.labels[fresh] = other.images, other.labels
        part.poisoned[fresh] = other.poisoned
        return part

    def _index(self, target: int | None) -> int:
        if target is None:
            return 0
        if target not in self.both:
            raise ConfigError(f"expected a target among {self.both}, got {target}")
        return self.both.index(target)

    def _part(self, index: int, rate: float | None = None) -> BadNets:
        return BadNets(
            target=self.both[index],
            poison_rate=self.poison_rate / 2 if rate is None else rate,
            top=self.tops[index],
            left=self.lefts[index],
            values=(self.first, self.second)[index],
        )
