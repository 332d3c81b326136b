"""Largest margins: known answers on hand-made networks, and how they weigh in the score."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnp_core.errors import ConfigError, ScanCancelled
from rnp_core.model import Normalization, SuspectModel
from rnp_core.progress import Progress
from rnp_core.stages.margins import MarginConfig, largest_margins, margins_of_all
from rnp_core.stages.target_label import margin_ratios, weigh_labels
from tests.helpers.models import TARGET, QuadrantNet, planted_model, suspect

EVEN = torch.full((4,), 0.25)
ALL = range(4)


class _Pixels(nn.Module):
    """Logit k is ``weights[k]`` times pixel k: in [0, 1], the margin of k is at most its weight."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :4] * self.weights


def test_margins_reach_what_pixels_between_0_and_1_allow() -> None:
    model = suspect(_Pixels([1.0, 2.0, 3.0, 8.0]))
    found = largest_margins(model, ALL, config=MarginConfig(steps=300))
    assert torch.allclose(found, torch.tensor([1.0, 2.0, 3.0, 8.0]), rtol=0.02)


def test_the_planted_backdoor_makes_its_target_surest() -> None:
    found = largest_margins(planted_model(), ALL)
    ratios = margin_ratios(found)
    assert int(found.argmax()) == TARGET
    clean = margin_ratios(largest_margins(suspect(QuadrantNet(backdoor=False)), ALL))
    assert ratios[TARGET] > 1.2 * clean[TARGET]


def test_labels_are_taken_in_the_given_order_and_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    model = suspect(_Pixels([1.0, 2.0, 3.0, 8.0]))
    config = MarginConfig(steps=200, starts=2)
    whole = largest_margins(model, [3, 0], config=config)
    monkeypatch.setattr("rnp_core.stages.margins._AT_ONCE", 3)
    assert torch.allclose(largest_margins(model, [3, 0], config=config), whole, atol=1e-5)
    assert whole[0] > whole[1]


class _ManyPixels(nn.Module):
    """40 classes like those of :class:`_Pixels`, with weights from 1 to 2 but 9 for class 7."""

    def __init__(self) -> None:
        super().__init__()
        weights = torch.linspace(1, 2, 40)
        weights[7] = 9.0
        self.weights = nn.Parameter(weights)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :40] * self.weights


def test_of_many_labels_only_some_get_the_full_search() -> None:
    model = SuspectModel(
        _ManyPixels(),
        normalization=Normalization.none(3),
        num_classes=40,
        input_shape=(3, 8, 8),
    ).eval()
    found = margins_of_all(model, max_labels=8)
    assert int(found.isfinite().sum()) == 8
    assert int(found.nan_to_num(0).argmax()) == 7
    ratios = margin_ratios(found)
    assert (torch.from_numpy(ratios).isfinite() == found.isfinite()).all()
    assert ratios[7] > 4


def test_few_labels_all_get_it() -> None:
    model = planted_model()
    assert torch.equal(margins_of_all(model), largest_margins(model, ALL))


def test_progress_ends_at_the_total_and_may_cancel() -> None:
    seen: list[Progress] = []
    largest_margins(planted_model(), ALL, config=MarginConfig(steps=3), on_progress=seen.append)
    assert [p.stage for p in seen] == ["margins"] * 3
    assert seen[-1].step == seen[-1].total

    def stop(progress: Progress) -> None:
        raise ScanCancelled("enough")

    with pytest.raises(ScanCancelled):
        largest_margins(planted_model(), ALL, on_progress=stop)


@pytest.mark.parametrize("labels", [[], [4], [-1]])
def test_labels_outside_the_classes_are_refused(labels: list[int]) -> None:
    with pytest.raises(ConfigError, match="expected labels below 4"):
        largest_margins(planted_model(), labels)


@pytest.mark.parametrize("values", [{"steps": 0}, {"starts": 0}, {"learning_rate": 0.0}])
def test_settings_outside_their_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        MarginConfig(**values)  # type: ignore[arg-type]


def test_a_large_margin_raises_the_score_of_its_label_alone() -> None:
    without = weigh_labels(EVEN, {})
    rows = weigh_labels(EVEN, {}, margins=torch.tensor([10.0, 10.0, 40.0, 10.0]))
    assert rows[2].margin_ratio == pytest.approx(4.0)
    assert rows[2].score > without[2].score
    assert all(rows[label].score == without[label].score for label in (0, 1, 3))


def test_one_large_margin_says_less_where_many_are_large() -> None:
    shares = torch.full((12,), 1 / 12)
    even = torch.tensor([9.0, 10.0, 11.0] * 4)
    uneven = torch.tensor([1.0, 1.0, 1.0, 2.0, 2.0, 10.0, 10.0, 10.0, 20.0, 20.0, 25.0, 20.0])
    for margins, counts in (even, True), (uneven, False):
        margins[3] = 44.0
        row = weigh_labels(shares, {}, margins=margins)[3]
        assert row.margin_ratio == pytest.approx(4.4, rel=0.01)
        assert (row.margin_outlier > 0.5) == counts


def test_negative_margins_and_few_labels_are_no_number_trouble() -> None:
    rows = weigh_labels(EVEN, {}, margins=torch.tensor([-5.0, 10.0, 12.0, 11.0]))
    assert all(0 <= row.score <= 1 for row in rows)
    few = weigh_labels(torch.full((2,), 0.5), {}, margins=torch.tensor([1.0, 9.0]))
    assert few[0].score == few[1].score
