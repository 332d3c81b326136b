"""SIG: a sinusoid on images of the target class, labels unchanged (Barni, Kallas and Tondi, ICIP
2019, arXiv 1902.11237)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from benchmarks.attacks.base import SingleTarget
from rnp_core.evaluation.triggers import SinusoidTrigger


@dataclass(frozen=True, eq=False, kw_only=True)
class Sig(SingleTarget):
    """``x + amplitude * sin(2 pi column frequency / width)``, clipped. A clean-label attack.

    Attributes:
        amplitude: of the sinusoid in training, in image units [0, 1]; the paper uses 20 / 255 on
            traffic signs.
        test_amplitude: at test time; the paper also tests with a stronger signal than it trains.
        frequency: periods over the width; 6 in the paper.
    """

    amplitude: float = 20 / 255
    test_amplitude: float = 20 / 255
    frequency: float = 6.0
    name: ClassVar[str] = "sig"

    def trigger(self, images: Tensor, target: int | None = None) -> Tensor:
        """See :class:`~benchmarks.attacks.base.Attack`."""
        return SinusoidTrigger(self.test_amplitude, self.frequency).apply(images)

    def _candidates(self, labels: Tensor) -> Tensor:
        return labels == self.target

    def _stamp(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return SinusoidTrigger(self.amplitude, self.frequency).apply(images)
