"""Trigger inversion finds the planted backdoor, and reports what its triggers really do."""

from __future__ import annotations

import dataclasses
from statistics import median

import pytest
import torch

from rnp_core.errors import ConfigError, DataError
from rnp_core.inversion import (
    ANY_LABEL,
    KINDS,
    InversionConfig,
    RecoveredTrigger,
    engine,
    flip_rate,
    invert,
    trigger_hits,
    trigger_loss,
)
from rnp_core.progress import FORWARD_WORK, Progress
from rnp_core.stages.filter_mask import prune_filters
from tests.helpers.models import (
    CLASSES,
    SIDE,
    TARGET,
    QuadrantNet,
    Shifting,
    Wrapped,
    planted_filter,
    planted_model,
    suspect,
)
from tests.helpers.sets import quadrant_set

SET = quadrant_set(10)
SHORT = InversionConfig(steps=4, batch_size=4)
LONG = InversionConfig(steps=120, batch_size=8)


def _sizes(triggers: tuple[RecoveredTrigger, ...]) -> dict[int, float]:
    return {trigger.label: trigger.size for trigger in triggers}


@pytest.mark.parametrize("norm", [True, False])
def test_the_planted_patch_is_the_smallest_by_far_and_lies_in_the_corner(norm: bool) -> None:
    triggers = invert(planted_model(norm=norm), SET, range(CLASSES), config=LONG)
    sizes = _sizes(triggers)
    others = [size for label, size in sizes.items() if label != TARGET]
    assert sizes[TARGET] < min(others) / 4
    found = triggers[TARGET]
    assert found.flip_rate >= 0.4
    corner = found.trigger_mask[0, SIDE - 2 :, SIDE - 2 :]
    assert corner.sum() > 0.8 * found.trigger_mask.sum()


def test_without_the_planted_filter_the_label_is_like_the_others() -> None:
    sizes = _sizes(invert(suspect(QuadrantNet(backdoor=False)), SET, range(CLASSES), config=LONG))
    assert sizes[TARGET] > median(sizes.values()) / 2


def test_the_planted_filter_also_shows_as_the_smallest_addition() -> None:
    sizes = _sizes(invert(planted_model(), SET, range(CLASSES), kind="additive", config=LONG))
    assert sizes[TARGET] < min(s for label, s in sizes.items() if label != TARGET) / 2


def test_pruning_the_planted_filter_disarms_the_recovered_patch() -> None:
    model = planted_model()
    (trigger,) = invert(model, SET, [TARGET], config=LONG)
    assert flip_rate(prune_filters(model, planted_filter()), trigger, SET) == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_triggers_come_in_the_order_asked_for_with_what_they_say(kind: str) -> None:
    model = planted_model()
    triggers = invert(model, SET, [2, 0, 3], kind=kind, config=SHORT)
    assert [trigger.label for trigger in triggers] == [2, 0, 3]
    for trigger in triggers:
        assert trigger.kind == kind
        assert trigger.size == pytest.approx(float(KINDS[kind].size(trigger.parameters)), rel=1e-4)
        assert trigger.flip_rate == pytest.approx(flip_rate(model, trigger, SET))
        assert trigger.trigger_mask.shape == (1, SIDE, SIDE)
        assert trigger.trigger_pattern.shape == (3, SIDE, SIDE)
        assert all(len(p) == 1 and not p.requires_grad for p in trigger.parameters)
        triggered = trigger.apply(SET.images)
        assert triggered.shape == SET.images.shape
        assert triggered.min() >= 0 and triggered.max() <= 1


def test_a_label_keeps_its_last_trigger_where_none_worked() -> None:
    impossible = InversionConfig(steps=3, batch_size=4, goal=1.0)
    (trigger,) = invert(planted_model(), SET, [0], config=impossible)
    (start,) = invert(planted_model(), SET, [0], config=InversionConfig(steps=0, batch_size=4))
    assert trigger.size > 0
    assert not torch.equal(trigger.parameters[0], start.parameters[0])


def test_one_image_of_another_class_is_enough() -> None:
    part = SET.subset(torch.tensor([0, 4, 1]))  # classes 0, 0, 1
    (trigger,) = invert(planted_model(), part, [0], config=SHORT)
    assert trigger.flip_rate in (0.0, 1.0)


@pytest.mark.parametrize("form", ["softmax", "dict"])
def test_other_output_forms(form: str) -> None:
    model = suspect(Wrapped(QuadrantNet(), form), returns_probabilities=form == "softmax")
    sizes = _sizes(invert(model, SET, range(CLASSES), config=LONG))
    assert min(sizes, key=lambda label: sizes[label]) == TARGET


def test_progress_counts_the_steps_and_carries_the_sizes() -> None:
    seen: list[Progress] = []
    invert(planted_model(), SET, [1, 2], config=SHORT, on_progress=seen.append)
    assert [(p.stage, p.step, p.total) for p in seen] == [("triggers", i + 1, 4) for i in range(4)]
    assert all(len(p.values["sizes"]) == 2 for p in seen)


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        ([0], "laser", "expected a kind among patch, .*, source-specific, got 'laser'"),
        ([], "patch", "expected labels below 4"),
        ([4], "patch", "expected labels below 4"),
    ],
)
def test_bad_arguments(labels: list[int], kind: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        invert(planted_model(), quadrant_set(5), labels, kind=kind)


def test_sources_limit_the_images_and_come_back_with_the_trigger() -> None:
    sources = [(0,), (2, 3)]
    first, second = invert(planted_model(), SET, [1, 1], sources=sources, config=SHORT)
    assert [first.sources, second.sources] == sources
    labels = torch.arange(CLASSES)
    assert second.is_for(labels).tolist() == [False, False, True, True]
    (plain,) = invert(planted_model(), SET, [1], config=SHORT)
    assert plain.sources == () and plain.is_for(labels).tolist() == [True, False, True, True]
    with pytest.raises(ConfigError, match="sources for 2 labels, got 1"):
        invert(planted_model(), SET, [1, 2], sources=[(0,)], config=SHORT)
    absent = SET.subset(torch.nonzero(SET.labels != 0).flatten())
    with pytest.raises(DataError, match="sources among them"):
        invert(planted_model(), absent, [1], sources=[(0,)], config=SHORT)


def test_a_share_counts_the_images_that_are_moved_most_easily() -> None:
    whole, easiest = (
        invert(planted_model(), SET, [TARGET], config=InversionConfig(
            steps=20, batch_size=12, share=share, goal=0.8 * share
        ))[0]
        for share in (1.0, 0.25)
    )  # fmt: skip
    assert easiest.size < whole.size


def test_one_class_is_refused() -> None:
    images = quadrant_set(5)
    alone = images.subset(torch.nonzero(images.labels == 0).flatten())
    with pytest.raises(DataError, match="at least two classes"):
        invert(planted_model(), alone, [0])


def test_a_trigger_to_any_other_class_is_small_where_one_patch_shifts_them_all() -> None:
    sizes = {}
    for name, network in (("shifting", Shifting()), ("clean", QuadrantNet(backdoor=False))):
        model = suspect(network)
        (found,) = invert(model, SET, [ANY_LABEL], config=LONG)
        assert found.label == ANY_LABEL
        assert found.flip_rate > 0.6
        to_one = _sizes(invert(model, SET, range(CLASSES), config=LONG))
        sizes[name] = found.size / median(to_one.values())
    assert sizes["shifting"] < sizes["clean"] / 3


def test_the_loss_leads_to_the_target_or_away_from_the_source() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    targets, sources = torch.tensor([1, ANY_LABEL]), torch.tensor([0, 0])
    chance = logits.softmax(1)[0]
    expected = -torch.stack([chance[1].log(), (1 - chance[0]).log()])
    assert torch.allclose(trigger_loss(logits, targets, sources), expected)
    predicted = torch.tensor([0, 1, 2])
    assert trigger_hits(predicted, 1, torch.zeros(3)).tolist() == [False, True, False]
    assert trigger_hits(predicted, ANY_LABEL, torch.zeros(3)).tolist() == [False, True, True]


def test_a_started_inversion_goes_on_from_its_trigger() -> None:
    model = planted_model()
    (first,) = invert(model, SET, [TARGET], config=LONG)
    (same,) = invert(model, SET, [TARGET], start=[first], config=InversionConfig(steps=0))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters, same.parameters, strict=True))
    (further,) = invert(
        model, SET, [TARGET], start=[first], config=InversionConfig(steps=40, goal=0.98)
    )
    assert further.flip_rate >= first.flip_rate
    with pytest.raises(ConfigError, match="expected starts of kind additive"):
        invert(model, SET, [TARGET], kind="additive", start=[first])


def test_rare_classes_are_drawn_as_often_as_common_ones() -> None:
    labels = torch.tensor([0] * 40 + [1] * 4 + [2] * 38 + [3] * 5)
    pool = engine._pool(labels, labels != 3)
    assert torch.bincount(labels[pool]).tolist() == [40, 40, 38]
    even = torch.arange(4).repeat(11)[:43]
    assert torch.equal(engine._pool(even, even != 0), torch.nonzero(even != 0).flatten())


def test_an_unchecked_trigger_is_the_same_but_for_its_flip_rate() -> None:
    config = InversionConfig(steps=5, batch_size=4)
    (checked,) = invert(planted_model(), SET, [0], config=config)
    (unchecked,) = invert(planted_model(), SET, [0], check=False, config=config)
    assert unchecked.size == checked.size and unchecked.flip_rate != unchecked.flip_rate


def test_images_that_do_not_count_cost_a_look_only() -> None:
    every = InversionConfig(steps=1, batch_size=12)
    some = dataclasses.replace(every, share=0.25)
    assert (every.counted, every.work_of_a_step) == (12, 12)
    assert some.counted == 3
    assert some.work_of_a_step == pytest.approx(12 * FORWARD_WORK + 3)
