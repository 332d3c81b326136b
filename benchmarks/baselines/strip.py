"""STRIP: Gao et al., "STRIP: A Defence Against Trojan Attacks on Deep Neural Networks", ACSAC 2019.

Checked against github.com/garrisongys/STRIP (the CIFAR-10 notebook): a suspect is added, with
weight 1 each, to 100 clean images that are centred on the mean colour, and the mean entropy of the
predictions is its score. A trigger survives that and keeps the prediction, so the entropy is low.
The threshold is the 1 % quantile of a normal distribution fitted to the entropies of clean images.

Differs from the published notebook: clean images overlay each other when the threshold is fitted,
so that the clean images of the defence are all that is needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from benchmarks.baselines.contract import Defence, NotApplicable, Outcome
from rnp_core.metrics import predict_probabilities

_FORWARD = 1024
"""Added images that are held in memory at once."""


@dataclass(frozen=True)
class StripConfig:
    """Settings of :func:`strip`."""

    overlays: int = 100  # clean images added to each suspect
    false_positive_rate: float = 0.01  # nominal, of the fitted normal distribution


def strip(defence: Defence, *, config: StripConfig = StripConfig()) -> dict[str, Outcome]:
    """Score the suspects by minus the entropy, in bits, of predictions under overlays.

    Raises:
        NotApplicable: without suspects.
    """
    if defence.suspects is None:
        raise NotApplicable("there are no suspect images")
    generator = torch.Generator().manual_seed(defence.seed)
    clean = _entropies(defence, defence.clean.images, config, generator)
    scores = _entropies(defence, defence.suspects, config, generator)
    spread = max(float(clean.std()), 1e-12)
    limit = NormalDist(float(clean.mean()), spread).inv_cdf(config.false_positive_rate)
    return {
        "strip": Outcome(
            sample_scores=-scores, sample_flags=scores < limit, notes={"threshold": limit}
        )
    }


def _entropies(
    defence: Defence, images: Tensor, config: StripConfig, generator: torch.Generator
) -> Tensor:
    """Mean entropy ``(N,)`` of the predictions on each image plus random clean images."""
    overlays = defence.clean.images - defence.clean.images.mean(dim=(0, 2, 3), keepdim=True)
    entropies = []
    for suspects in images.split(max(1, _FORWARD // config.overlays)):
        drawn = torch.randint(len(overlays), (len(suspects), config.overlays), generator=generator)
        added = (suspects.unsqueeze(1) + overlays[drawn]).flatten(0, 1)
        shares = predict_probabilities(defence.model, added).double()
        bits = -torch.xlogy(shares, shares).sum(1) / math.log(2)
        entropies.append(bits.view(len(suspects), -1).mean(1))
    return torch.cat(entropies).float()
