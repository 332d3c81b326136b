"""Source-specific: the trigger works on some classes only (TaCT, Tang et al., USENIX Security 2021,
"Demon in the variant", arXiv 1908.00686)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from benchmarks.attacks.badnets import BadNets
from benchmarks.attacks.base import Setting
from rnp_core.errors import ConfigError

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, eq=False, kw_only=True)
class SourceSpecific(BadNets):
    """Patched images of the source classes get the target label; patched images of all others keep
    theirs (cover images), the target's own among them.

    Attributes:
        source_classes: where the trigger works.
        covered: share of all training images that are cover images.
    """

    source_classes: tuple[int, ...]
    covered: float
    name: ClassVar[str] = "source-specific"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.source_classes or self.target in self.source_classes:
            raise ConfigError(
                f"expected source classes other than the target {self.target}, got "
                f"{self.source_classes}"
            )

    @classmethod
    def create(cls, setting: Setting, *, size: int = 4, **parameters: Any) -> Self:
        """The attack with a patch; as many cover images as poisoned ones unless told otherwise."""
        sources = tuple(parameters.pop("source_classes"))
        covered = parameters.pop("covered", parameters["poison_rate"])
        return super().create(
            setting, size=size, source_classes=sources, covered=covered, **parameters
        )

    @property
    def sources(self) -> tuple[int, ...]:
        return self.source_classes

    @property
    def cover_rate(self) -> float:
        return self.covered

    def _candidates(self, labels: Tensor) -> Tensor:
        return torch.isin(labels, torch.tensor(self.source_classes).to(labels))

    def _cover_candidates(self, labels: Tensor) -> Tensor:
        return ~self._candidates(labels)
