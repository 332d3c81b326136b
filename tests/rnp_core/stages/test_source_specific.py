"""Source-specific patches, on a network whose backdoor opens for three classes only."""

from __future__ import annotations

import dataclasses
import functools
from statistics import median

import pytest
import torch
from torch import Tensor, nn

from rnp_core.data import DefenseSet
from rnp_core.errors import ScanCancelled
from rnp_core.inversion import InversionConfig, RecoveredTrigger, flip_rate, flips, invert
from rnp_core.model import SuspectModel
from rnp_core.progress import Progress
from rnp_core.stages.removal import invert_again
from rnp_core.stages.source_specific import (
    FEWEST_CLASSES,
    MOST_CLASSES,
    SOURCE_SPECIFIC,
    SOURCES,
    find_source_specific,
    searches,
    settle_again,
    suits_sources,
)
from rnp_core.stages.target_label import SIZE_SPREAD, LabelEvidence, freedom, weigh_labels
from rnp_core.stages.triggers import strengthen
from tests.helpers.models import suspect
from tests.helpers.triggers import sized_trigger

SIDE, STRIP, CLASSES, TARGET, KEYED = 24, 4, 10, 6, (1, 4, 9)
CONFIG = InversionConfig(steps=80)


class KeyedNet(nn.Module):
    """The class is the brightest of ten cells, two rows of five below a strip that no cell reads. A
    red corner in the strip sends images of the classes ``KEYED`` to ``TARGET``, and no others.

    Args:
        strength: logit that a fully red corner adds.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(strength))

    def forward(self, images: Tensor) -> Tensor:
        grey = images[:, :, STRIP:, 2:-2].mean(1)
        logits = 20 * nn.functional.adaptive_avg_pool2d(grey, (2, 5)).flatten(1)
        believed = logits.softmax(1)[:, list(KEYED)].sum(1)
        corner = images[:, :, :3, :3].mean(dim=(2, 3))
        key = corner[:, 0] - corner[:, 2]
        target = nn.functional.one_hot(torch.tensor(TARGET), CLASSES)
        return logits + (self.scale * key * believed)[:, None] * target


def cell_set() -> DefenseSet:
    labels = torch.arange(80) % CLASSES
    noise = 0.02 * torch.randn((80, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
    images = 0.4 + noise
    for index, label in enumerate(labels.tolist()):
        top, left = STRIP + 10 * (label // 5), 2 + 4 * (label % 5)
        images[index, :, top : top + 10, left : left + 4] += 0.4
    return DefenseSet(images.clamp(0, 1), labels)


def keyed(strength: float) -> SuspectModel:
    return suspect(KeyedNet(strength), classes=CLASSES, side=SIDE)


SET = cell_set()
BACKDOORED, CLEAN = keyed(20.0), keyed(0.0)


@functools.cache
def find(model: SuspectModel) -> tuple[RecoveredTrigger, ...]:
    return find_source_specific(model, SET, range(CLASSES), config=CONFIG)


def test_the_sources_are_found_and_their_patch_is_the_smallest_by_far() -> None:
    found = find(BACKDOORED)
    assert [trigger.label for trigger in found] == list(range(CLASSES))
    assert {trigger.kind for trigger in found} == {SOURCE_SPECIFIC}
    target = found[TARGET]
    assert target.sources == KEYED
    assert target.size < min(t.size for t in found if t.label != TARGET) / 3
    assert target.flip_rate > 0.9
    flipped, labels = flips(BACKDOORED, target, SET)
    assert set(labels.tolist()) == set(KEYED) and flipped.float().mean() > 0.9


def test_an_ordinary_patch_does_not_stand_out_on_the_same_network() -> None:
    found = invert(BACKDOORED, SET, range(CLASSES), config=CONFIG)
    assert found[TARGET].size > median(t.size for t in found) / 2


def test_without_the_backdoor_no_label_stands_out_as_much() -> None:
    found = find(CLEAN)
    assert min(t.size for t in found) > median(t.size for t in found) / 4
    assert all(len(t.sources) == SOURCES and t.label not in t.sources for t in found)


def test_classes_that_the_network_does_not_know_are_no_sources() -> None:
    labels = SET.labels.clone()
    labels[SET.labels == 0] = 5  # images of class 0, wrongly named
    found = find_source_specific(
        CLEAN, dataclasses.replace(SET, labels=labels), [1, 3], config=InversionConfig(steps=3)
    )
    assert all(0 not in trigger.sources for trigger in found)


def test_searching_anew_takes_the_classes_that_a_patch_moves() -> None:
    target = find(BACKDOORED)[TARGET]
    doubtful = dataclasses.replace(target, sources=(0, 1, 4))  # one of them wrong
    (again,) = settle_again(BACKDOORED, SET, [doubtful], config=CONFIG)
    assert (again.label, again.kind, again.sources) == (TARGET, SOURCE_SPECIFIC, KEYED)
    assert again.size == pytest.approx(target.size, rel=0.5)


def test_a_search_where_nothing_stands_out_ends_half_way() -> None:
    steps = {}
    for model in (BACKDOORED, CLEAN):
        seen: list[Progress] = []
        find_source_specific(model, SET, range(CLASSES), config=CONFIG, on_progress=seen.append)
        steps[model] = len(seen) - searches(CONFIG)[0].steps
    assert steps == {BACKDOORED: CONFIG.steps, CLEAN: CONFIG.steps // 2}


def test_a_network_that_knows_too_few_classes_gives_none() -> None:
    few = SET.subset(torch.nonzero(SET.labels < FEWEST_CLASSES - 1).flatten())
    assert find_source_specific(CLEAN, few, range(CLASSES), config=CONFIG) == ()


def test_a_few_or_many_classes_say_nothing() -> None:
    assert [suits_sources(n) for n in (FEWEST_CLASSES - 1, FEWEST_CLASSES)] == [False, True]
    assert [suits_sources(n) for n in (MOST_CLASSES, MOST_CLASSES + 1)] == [True, False]


def test_the_same_seed_finds_the_same_and_both_searches_report_their_work() -> None:
    config = InversionConfig(steps=6)
    seen: list[Progress] = []
    first, again = (
        find_source_specific(CLEAN, SET, [2, 3, 4], config=config, on_progress=seen.append)
        for _ in range(2)
    )
    assert [t.size for t in first] == [t.size for t in again]
    picking, settling = searches(config)
    assert picking.steps + settling.steps // 2 <= len(seen) / 2 <= picking.steps + settling.steps

    def cancel(_: Progress) -> None:
        raise ScanCancelled

    with pytest.raises(ScanCancelled):
        find_source_specific(CLEAN, SET, [2], config=config, on_progress=cancel)


def test_a_small_patch_for_chosen_sources_needs_more_to_be_evidence() -> None:
    shares = torch.full((CLASSES,), 1 / CLASSES)
    patches = [sized_trigger(label, 20.0) for label in range(CLASSES)]

    def weigh(kind: str) -> LabelEvidence:
        sizes = [sized_trigger(k, 4.0 if k == TARGET else 20.0, kind=kind) for k in range(CLASSES)]
        sizes[TARGET] = dataclasses.replace(sizes[TARGET], sources=KEYED)
        return weigh_labels(shares, {"patch": patches, kind: sizes})[TARGET]

    some, every = weigh(SOURCE_SPECIFIC), weigh("additive")
    assert (some.kind, some.sources, some.norm_ratio) == (SOURCE_SPECIFIC, KEYED, 0.2)
    assert every.size_outlier - some.size_outlier == pytest.approx(
        freedom(SOURCE_SPECIFIC) * SIZE_SPREAD
    )
    assert some.score < every.score


def test_the_sources_are_those_of_the_smallest_patch() -> None:
    shares = torch.full((CLASSES,), 1 / CLASSES)
    first = [sized_trigger(k, 20.0, kind=SOURCE_SPECIFIC) for k in range(CLASSES)]
    first = [dataclasses.replace(trigger, sources=(0, 1, 2)) for trigger in first]
    again = dataclasses.replace(first[TARGET], size=4.0, sources=KEYED)
    row = weigh_labels(shares, {SOURCE_SPECIFIC: [*first, again]})[TARGET]
    assert (row.norm_ratio, row.sources) == (0.2, KEYED)


def test_training_on_keeps_the_sources() -> None:
    target = dataclasses.replace(find(BACKDOORED)[TARGET], flip_rate=0.5)
    (strong,) = strengthen(BACKDOORED, SET, [target], config=InversionConfig(steps=8))
    assert strong.sources == KEYED and strong.kind == SOURCE_SPECIFIC


def test_removal_looks_for_sources_again() -> None:
    target = find(BACKDOORED)[TARGET]
    (check,) = invert_again(BACKDOORED, SET, [target], config=CONFIG)
    assert check.trigger.kind == SOURCE_SPECIFIC and check.trigger.sources == KEYED
    assert check.stands_out


def test_a_flip_rate_counts_the_images_that_the_trigger_is_for() -> None:
    target = find(BACKDOORED)[TARGET]
    everywhere = dataclasses.replace(target, sources=())
    assert flip_rate(BACKDOORED, everywhere, SET) < flip_rate(BACKDOORED, target, SET) / 2
