"""Removal baselines: RNP as published, fine-tuning, ANP and CLP."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.baselines.anp import AnpConfig, anp
from benchmarks.baselines.batch_norm import batch_norm_layers, count_channels, prune_channels
from benchmarks.baselines.clp import clp, lipschitz_bounds
from benchmarks.baselines.contract import Defence, NotApplicable
from benchmarks.baselines.fine_tuning import FineTuningConfig, fine_tune
from benchmarks.baselines.official_rnp import OfficialRnpConfig, official_rnp
from benchmarks.baselines.threshold_sweep import NOTHING, THRESHOLDS
from benchmarks.baselines.training import crop_and_flip, shuffled_batches
from rnp_core.metrics import clean_accuracy
from rnp_core.model import Normalization, SuspectModel
from tests.benchmarks.tiny import planted_defence
from tests.helpers.models import PLANTED
from tests.helpers.sets import quadrant_set

SHORT_RNP = OfficialRnpConfig(unlearn_epochs=3, recover_epochs=2, batch_size=16)


def test_batches_cover_every_image_and_none_has_one_image() -> None:
    batches = list(shuffled_batches(9, 4, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in batches] == [4, 5]
    assert sorted(torch.cat(batches).tolist()) == list(range(9))


@pytest.mark.parametrize("flips", [False, True])
def test_every_augmented_image_is_a_shift_or_a_mirrored_shift(flips: bool) -> None:
    image = torch.rand((3, 5, 6), generator=torch.Generator().manual_seed(0)) + 0.1
    padded = nn.functional.pad(image, (4, 4, 4, 4))
    shifts = [padded[:, r : r + 5, c : c + 6] for r in range(9) for c in range(9)]
    mirrored = [shift.flip(2) for shift in shifts]
    augmented = crop_and_flip(
        image.expand(40, -1, -1, -1), torch.Generator().manual_seed(1), flips=flips
    )
    kinds = {
        "shift" if any(torch.equal(one, s) for s in shifts)
        else "mirror" if any(torch.equal(one, s) for s in mirrored) else "neither"
        for one in augmented
    }
    assert kinds == ({"shift", "mirror"} if flips else {"shift"})


def test_pruning_silences_weights_up_to_the_threshold_and_keeps_biases() -> None:
    model = planted_defence().model
    (name,) = batch_norm_layers(model)
    mask = {name: torch.tensor([0.0, 0.3, 0.31, 1.0, 1.0, 1.0, 0.2, 1.0])}
    pruned = dict(prune_channels(model, mask, 0.3).named_modules())[name]
    original = dict(model.named_modules())[name]
    assert pruned.weight.tolist() == [0, 0, 1, 1, 1, 1, 0, 1]
    assert torch.equal(pruned.bias, original.bias)
    assert original.weight.tolist() == [1] * 8
    assert count_channels(mask, 0.3) == 3


@pytest.fixture(scope="module")
def rnp_outcomes() -> dict:
    return official_rnp(planted_defence(oracle=True), config=SHORT_RNP)


def test_rnp_sweeps_every_threshold_after_the_model_as_it_came(rnp_outcomes: dict) -> None:
    sweep = rnp_outcomes["rnp-0.70"].notes["sweep"]
    assert [row[0] for row in sweep] == [NOTHING, *THRESHOLDS]
    assert len(THRESHOLDS) == 19 and THRESHOLDS[14] == 0.70
    filters = [row[1] for row in sweep]
    assert filters[0] == 0 and filters == sorted(filters)
    assert rnp_outcomes["rnp-0.70"].pruned_filters == dict(zip(
        [row[0] for row in sweep], filters, strict=True))[0.70]


def test_rnp_drop_takes_the_last_threshold_before_a_point_is_lost(rnp_outcomes: dict) -> None:
    outcome = rnp_outcomes["rnp-drop"]
    sweep = outcome.notes["sweep"]
    allowed = [row for row in sweep if sweep[0][2] - row[2] <= 0.01 + 1e-9]
    taken = outcome.notes["threshold"]
    assert taken in [row[0] for row in allowed]
    later = [row for row in sweep if row[0] > taken]
    assert not later or sweep[0][2] - later[0][2] > 0.01


def test_rnp_oracle_has_the_lowest_success_at_nine_tenths_of_the_accuracy(
    rnp_outcomes: dict,
) -> None:
    outcome = rnp_outcomes["rnp-oracle"]
    sweep = outcome.notes["sweep"]
    allowed = [row for row in sweep if abs(row[3] - sweep[0][3]) < 0.1 * sweep[0][3]]
    chosen = next(row for row in sweep if row[0] == outcome.notes["threshold"])
    assert chosen[4] == min(row[4] for row in allowed)


def test_rnp_without_a_true_trigger_has_no_oracle_row() -> None:
    outcomes = official_rnp(planted_defence(), config=SHORT_RNP)
    assert sorted(outcomes) == ["rnp-0.70", "rnp-drop"]
    assert all(len(outcome.labels or ()) == 1 for outcome in outcomes.values())


def test_rnp_unlearning_stops_when_the_epoch_is_wrong_often_enough() -> None:
    config = OfficialRnpConfig(batch_size=16, recover_epochs=1, stop_accuracy=1.0)
    notes = official_rnp(planted_defence(), config=config)["rnp-0.70"].notes
    assert notes["collapsed"] and notes["unlearn_epochs"] == 1


@pytest.mark.parametrize(
    "method", [lambda d: official_rnp(d, config=SHORT_RNP), anp, clp], ids=["rnp", "anp", "clp"]
)
def test_masks_on_batch_norm_need_batch_norm(method) -> None:
    with pytest.raises(NotApplicable, match="no BatchNorm"):
        method(planted_defence(norm=False))


@pytest.mark.parametrize(
    "method",
    [
        lambda d: official_rnp(d, config=SHORT_RNP),
        lambda d: anp(d, config=AnpConfig(steps=3, batch_size=8)),
        lambda d: fine_tune(d, config=FineTuningConfig(epochs=1)),
        clp,
    ],
    ids=["rnp", "anp", "fine-tuning", "clp"],
)
def test_methods_leave_the_model_alone_and_repeat_themselves(method) -> None:
    defence = planted_defence()
    before = {name: t.clone() for name, t in defence.model.state_dict().items()}
    first, second = method(defence), method(defence)
    assert all(torch.equal(t, before[n]) for n, t in defence.model.state_dict().items())
    assert not defence.model.training
    for name, outcome in first.items():
        again = second[name].repaired.state_dict()
        assert all(torch.equal(t, again[n]) for n, t in outcome.repaired.state_dict().items())
        assert not outcome.repaired.training


def test_fine_tuning_teaches_the_clean_labels() -> None:
    clean = quadrant_set(12)
    shifted = Defence(planted_defence().model, type(clean)(clean.images, (clean.labels + 1) % 4))
    outcome = fine_tune(shifted, config=FineTuningConfig(epochs=40, batch_size=16))["fine-tuning"]
    assert clean_accuracy(shifted.model, shifted.clean) == 0.0
    assert clean_accuracy(outcome.repaired, shifted.clean) > 0.5


def test_anp_prunes_channels_whose_masks_fall() -> None:
    everything = AnpConfig(steps=1, batch_size=8, prune_threshold=1.0)
    nothing = AnpConfig(steps=1, batch_size=8, prune_threshold=-1.0)
    assert anp(planted_defence(), config=everything)["anp"].pruned_filters == 8
    assert anp(planted_defence(), config=nothing)["anp"].pruned_filters == 0
    careful = anp(planted_defence(), config=nothing)["anp-drop"]
    assert clean_accuracy(careful.repaired, planted_defence().clean) >= 0.99


def test_lipschitz_bounds_are_those_of_the_published_formula() -> None:
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4)
    norm.weight.data = torch.tensor([1.0, -2.0, 0.5, 0.0])
    norm.running_var = torch.tensor([1.0, 4.0, 0.25, 9.0])
    gains = (norm.weight / norm.running_var.sqrt()).abs()
    published = [
        torch.linalg.svdvals(convolution.weight[i].reshape(5, -1) * gains[i]).max()
        for i in range(4)
    ]
    bounds = lipschitz_bounds(convolution, norm)
    assert torch.allclose(bounds.float(), torch.stack(published), rtol=1e-3)


class PreActivation(nn.Module):
    """Two convolutions of 20 channels; a BatchNorm follows the first, another the sum of both."""

    def __init__(self) -> None:
        super().__init__()
        self.last_norm = nn.BatchNorm2d(20)  # registered first, run last, fed by a sum
        self.first = nn.Conv2d(3, 20, 3, padding=1)
        self.norm = nn.BatchNorm2d(20)
        self.second = nn.Conv2d(20, 20, 3, padding=1)
        self.head = nn.Linear(20, 4)

    def forward(self, images):
        first = self.first(images)
        total = first + self.second(torch.relu(self.norm(first)))
        return self.head(torch.relu(self.last_norm(total)).mean((2, 3)))


def test_clp_prunes_the_channel_that_stands_out_behind_its_own_convolution() -> None:
    torch.manual_seed(0)
    network = PreActivation().eval()
    network.first.weight.data[PLANTED] *= 50
    network.norm.bias.data.fill_(0.1)
    model = SuspectModel(
        network, normalization=Normalization.none(3), num_classes=4, input_shape=(3, 12, 12)
    )
    outcome = clp(Defence(model, quadrant_set(2)))["clp"]
    repaired = outcome.repaired.network
    assert outcome.pruned_filters == 1
    assert repaired.norm.weight[PLANTED] == 0 and repaired.norm.bias[PLANTED] == 0
    assert torch.equal(repaired.last_norm.weight, network.last_norm.weight)
