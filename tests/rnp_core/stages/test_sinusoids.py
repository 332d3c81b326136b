"""The survey of faint waves, on a network that listens to one frequency."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from rnp_core.data import DefenseSet
from rnp_core.errors import ScanCancelled
from rnp_core.inversion import InversionConfig, flip_rate, invert
from rnp_core.inversion.kinds import SinusoidKind
from rnp_core.model import Normalization, SuspectModel
from rnp_core.progress import Progress
from rnp_core.stages.sinusoids import (
    AMPLITUDE,
    FREQUENCIES,
    HIGHEST,
    SURVEY_WORK,
    USUAL_LEAD,
    SinusoidSurvey,
    survey_sinusoids,
)
from tests.helpers.models import suspect

SIDE, CLASSES, TARGET = 24, 10, 6
WAVE = (2, 3)
"""Cycles over height and width that lead to ``TARGET``."""


class ListeningNet(nn.Module):
    """The class is how bright an image is, in ten steps; a wave of one frequency overrules that.

    Args:
        strength: logit that a wave of that frequency of amplitude 1 adds, whatever its phase.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        rows, columns = torch.arange(SIDE).view(-1, 1) / SIDE, torch.arange(SIDE) / SIDE
        angle = 2 * math.pi * (WAVE[0] * rows + WAVE[1] * columns)
        self.register_buffer("waves", torch.stack([angle.sin(), angle.cos()]) * 2 / SIDE**2)
        self.scale = nn.Parameter(torch.tensor(strength))

    def forward(self, images: Tensor) -> Tensor:
        grey = images.mean(1)
        steps = torch.arange(CLASSES, device=images.device)
        logits = -20 * (10 * grey.mean(dim=(1, 2), keepdim=True)[:, 0] - steps - 0.5).abs()
        heard = torch.einsum("nhw,khw->nk", grey, self.waves).norm(dim=1)
        return logits + self.scale * heard[:, None] * nn.functional.one_hot(
            torch.tensor(TARGET), CLASSES
        )


def brightness_set() -> DefenseSet:
    labels = torch.arange(60) % CLASSES
    images = (labels.float() + 0.5).view(-1, 1, 1, 1) / 10
    noise = 0.01 * torch.randn((60, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
    return DefenseSet((images + noise).clamp(0, 1), labels)


def listening(strength: float) -> SuspectModel:
    return suspect(ListeningNet(strength), classes=CLASSES, side=SIDE)


SET = brightness_set()
BACKDOORED, CLEAN = listening(3000.0), listening(0.0)


def test_frequencies_are_low_and_none_is_tried_in_both_directions() -> None:
    assert WAVE in FREQUENCIES and (0, 6) in FREQUENCIES and (0, 0) not in FREQUENCIES
    assert all(math.hypot(*pair) <= HIGHEST for pair in FREQUENCIES)
    assert not {(-down, -across) for down, across in FREQUENCIES} & set(FREQUENCIES)


def test_the_frequency_and_the_label_are_found() -> None:
    found = survey_sinusoids(BACKDOORED, SET)
    assert int(found.shares.argmax()) == TARGET and float(found.shares[TARGET]) > 0.9
    assert float(found.leads[TARGET]) > USUAL_LEAD
    assert (found.leads[torch.arange(CLASSES) != TARGET] < 0).all()
    down, across, _, amplitude = found.parameters[TARGET].tolist()
    assert (down, across) == WAVE
    assert amplitude * SinusoidKind.unit == pytest.approx(AMPLITUDE)


def test_a_network_that_hears_nothing_has_no_leading_label() -> None:
    found = survey_sinusoids(CLEAN, SET)
    assert float(found.leads.max()) < USUAL_LEAD
    assert torch.equal(found.shares, torch.zeros(CLASSES))
    assert (found.parameters[:, 3] > 0).all()  # waves to go on from all the same


def test_an_inversion_goes_on_from_the_wave_and_makes_it_fainter() -> None:
    start = survey_sinusoids(BACKDOORED, SET).starts([TARGET])
    (found,) = invert(
        BACKDOORED, SET, [TARGET], kind="sinusoid", start=start, config=InversionConfig(steps=40)
    )
    assert found.size < start[0].size
    assert flip_rate(BACKDOORED, found, SET) > 0.7
    assert torch.allclose(found.parameters[0][0, :2], torch.tensor(WAVE).float(), atol=0.5)


def test_the_lead_compares_with_the_best_other_label() -> None:
    shares = torch.tensor([0.95, 0.2, 0.3, 0.0])
    trials = torch.full((4,), 72)
    leads = SinusoidSurvey(shares, trials, torch.ones(4, 4)).leads
    assert int(leads.argmax()) == 0 and float(leads[0]) == pytest.approx(-float(leads[2]))
    even = SinusoidSurvey(torch.full((4,), 0.5), trials, torch.ones(4, 4)).leads
    assert even.tolist() == [0.0] * 4


def test_a_share_of_few_images_leads_by_little() -> None:
    shares = torch.tensor([1.0, 0.9, 0.1])
    many, few = (
        float(SinusoidSurvey(shares, torch.full((3,), count), torch.ones(3, 4)).leads[0])
        for count in (72, 20)
    )
    assert few < USUAL_LEAD < many
    one_sided = SinusoidSurvey(shares, torch.tensor([2, 78, 78]), torch.ones(3, 4))
    assert float(one_sided.leads[0]) < 0  # one image of another class says next to nothing


def test_shares_rest_on_the_images_of_other_answers() -> None:
    one_class = DefenseSet(SET.images[SET.labels == 2], SET.labels[SET.labels == 2])
    found = survey_sinusoids(BACKDOORED, one_class)
    assert found.trials[TARGET] == 2 * len(one_class)
    assert found.trials[2] == 2  # at least one image, for two phases


def test_grey_images_are_waved_too() -> None:
    grey = DefenseSet(SET.images[:, :1], SET.labels)
    model = SuspectModel(
        ListeningNet(3000.0), normalization=Normalization.none(1), num_classes=CLASSES,
        input_shape=(1, SIDE, SIDE),
    ).eval()  # fmt: skip
    assert float(survey_sinusoids(model, grey).leads[TARGET]) > USUAL_LEAD


def test_progress_adds_up_and_may_cancel() -> None:
    seen: list[Progress] = []
    survey_sinusoids(CLEAN, SET, on_progress=seen.append)
    assert sum(report.work for report in seen) == pytest.approx(SURVEY_WORK)
    assert seen[-1].step == seen[-1].total == len(FREQUENCIES)

    def stop(progress: Progress) -> None:
        raise ScanCancelled("enough")

    with pytest.raises(ScanCancelled):
        survey_sinusoids(CLEAN, SET, on_progress=stop)
