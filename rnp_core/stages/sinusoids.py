"""Which labels a faint wave over the image leads to: a map over the low frequencies.

What a plane wave of each frequency does to a network is a well-known map of its robustness (Yin et
al., "A Fourier perspective on model robustness in computer vision", NeurIPS 2019, section 3). SIG
(Barni, Kallas and Tondi, ICIP 2019) poisons with such a wave. Gradients do not find it, as any
other small change of the image is as short a way to the target; trying every low frequency does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rnp_core.data import DefenseSet
from rnp_core.fold import fold_batch_norms
from rnp_core.inversion import RecoveredTrigger
from rnp_core.inversion.kinds import SinusoidKind
from rnp_core.metrics import predict
from rnp_core.model import SuspectModel
from rnp_core.progress import FORWARD_WORK, OnProgress, Progress, ignore_progress

SINUSOID = SinusoidKind.name

AMPLITUDE = 32 / 255
"""Of the waves; SIG uses 20 / 255 to 60 / 255."""

HIGHEST = 6.4
"""Cycles over an image at most, the 6 of SIG's paper among them. Higher ones mislead innocent
networks of natural images: they drown textures."""

FEWEST_CLASSES = 8
"""With fewer, a network that a wave confuses has little choice, and often one answer."""

USUAL_LEAD = 2.0
"""Lead of a label, see :attr:`SinusoidSurvey.leads`, that none of 55 clean models exceeded on which
it was chosen; SIG's target reached 2.5 and 3.2 on CIFAR-10."""

_IMAGES = 40
_PHASES = (0.0, math.pi / 2)


def _frequencies() -> list[tuple[int, int]]:
    """Whole cycles over height and width, each direction once."""
    reach = int(HIGHEST)
    return [
        (down, across)
        for down in range(reach + 1)
        for across in range(-reach, reach + 1)
        if (down > 0 or across > 0) and math.hypot(down, across) <= HIGHEST
    ]


FREQUENCIES = _frequencies()
SURVEY_WORK = FORWARD_WORK * _IMAGES * len(_PHASES) * len(FREQUENCIES)
"""See :mod:`rnp_core.progress`."""


@dataclass(frozen=True, eq=False)
class SinusoidSurvey:
    """What waves of low frequencies do.

    Attributes:
        shares: ``(K,)`` in [0, 1]; by how much waves of one frequency raise the number of answers
            with the label at most, as a share of the images that get another answer without a wave.
        trials: ``(K,)``, the images that each share rests on, counted once for each phase.
        parameters: ``(K, 4)``, the wave of that frequency in the form of
            :class:`rnp_core.inversion.kinds.SinusoidKind`, at the better phase.
    """

    shares: Tensor
    trials: Tensor
    parameters: Tensor

    @property
    def leads(self) -> Tensor:
        """``(K,)``, the logit of each share less the largest logit of another label.

        A network that waves confuse gives several answers, depending on their frequency.
        """
        logits = torch.logit((self.shares * self.trials + 0.5) / (self.trials + 1))
        first, second = logits.topk(2).values
        return logits - torch.where(logits == first, second, first)

    def starts(self, labels: Sequence[int]) -> list[RecoveredTrigger]:
        """The waves as triggers from which an inversion can go on, in the order of ``labels``.

        Their pictures are left for the inversion to draw.
        """
        kind, found = SinusoidKind(), []
        for label in labels:
            own = [self.parameters[label : label + 1]]
            mask, pattern = kind.picture(own, (1, 2, 2))
            found.append(
                RecoveredTrigger(
                    label, kind.name, float(kind.size(own)), float(self.shares[label]),
                    mask[0], pattern[0], own,
                )
            )  # fmt: skip
        return found


def survey_sinusoids(
    model: SuspectModel,
    defense_set: DefenseSet,
    *,
    on_progress: OnProgress = ignore_progress,
) -> SinusoidSurvey:
    """Try a wave of every low frequency on evenly spaced clean images, for all labels at once.

    Raises:
        ScanCancelled: when the callback raises it.
    """
    kind, classes = SinusoidKind(), model.num_classes
    chosen = torch.linspace(0, len(defense_set) - 1, min(_IMAGES, len(defense_set))).long()
    images = defense_set.images[chosen]
    network = fold_batch_norms(model, images[:2])
    before = torch.bincount(predict(network, images), minlength=classes)
    others = (len(images) - before).clamp_min(1)
    amplitude = torch.full((len(_PHASES), 1), AMPLITUDE / kind.unit)
    phases = torch.tensor(_PHASES).unsqueeze(1)
    shares, parameters = torch.zeros(classes), torch.zeros(classes, 4)
    for step, frequency in enumerate(FREQUENCIES, start=1):
        waves = torch.cat([torch.tensor([frequency] * len(_PHASES)), phases, amplitude], dim=1)
        waved = kind.apply([waves], images.expand(len(_PHASES), -1, -1, -1, -1)).flatten(0, 1)
        seen = predict(network, waved).view(len(_PHASES), -1)
        counts = torch.stack([torch.bincount(row, minlength=classes) for row in seen])
        gained = (counts - before).clamp_min(0) / others
        share, better = gained.mean(0), gained.argmax(0)
        larger = share > shares
        shares = torch.where(larger, share, shares)
        parameters[larger] = waves[better[larger]]
        work = FORWARD_WORK * len(waved)
        on_progress(Progress("triggers", step, len(FREQUENCIES), "sinusoids", work=work))
    parameters[shares == 0] = waves[0]  # no wave at all would have no gradient
    return SinusoidSurvey(shares, len(_PHASES) * others, parameters)
