"""Every attack: what it changes, how much of it, and that it comes back from its saved form."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.attacks import ATTACKS, Attack, PoisonedSet, Setting, make_attack, restore_attack
from rnp_core.errors import ConfigError, DataError

CLASSES, COUNT = 6, 240
SETTING = Setting((3, 16, 16), CLASSES, seed=5)
RATE = 0.05

CASES: dict[str, dict[str, Any]] = {
    "badnets": {"target": 1},
    "trojan": {"target": 1, "steps": 3},
    "blend": {"target": 1},
    "sig": {"target": 1},
    "wanet": {"target": 1, "strength": 2.0},
    "input-aware": {"target": 1, "mask_steps": 2, "width": 4},
    "label-consistent": {"target": 1, "steps": 2},
    "adaptive-blend": {"target": 1},
    "all-to-all": {},
    "source-specific": {"target": 1, "source_classes": (2, 3)},
    "two-targets": {"both": (1, 4)},
}
CLEAN_LABEL = ("sig", "label-consistent")


@pytest.fixture(scope="module")
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (COUNT, 3, 16, 16), generator=generator) / 255


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.arange(COUNT) % CLASSES


def classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, CLASSES))


def ready(name: str, images: Tensor, labels: Tensor, **parameters: Any) -> Attack:
    attack = make_attack(name, SETTING, {"poison_rate": RATE, **CASES[name], **parameters})
    generator = torch.Generator().manual_seed(1)
    return attack.fitted(images, labels, classifier(), generator)


def poisoned(attack: Attack, images: Tensor, labels: Tensor, seed: int = 2) -> PoisonedSet:
    with torch.no_grad():
        return attack.poison(images, labels, torch.Generator().manual_seed(seed))


def test_every_attack_has_a_case() -> None:
    assert set(CASES) == set(ATTACKS)


@pytest.mark.parametrize("name", CASES)
def test_only_what_is_flagged_changes(name: str, images: Tensor, labels: Tensor) -> None:
    before = images.clone(), labels.clone()
    attack = ready(name, images, labels)
    result = poisoned(attack, images, labels)
    touched = result.poisoned | result.cover
    changed = (result.images != images).flatten(1).any(1)
    assert not (result.poisoned & result.cover).any()
    assert torch.equal(changed, touched)
    assert torch.equal(result.labels[~result.poisoned], labels[~result.poisoned])
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])
    assert result.images.min() >= 0
    assert result.images.max() <= 1


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rate", [0.005, 0.05])
def test_the_rate_is_respected(name: str, rate: float, images: Tensor, labels: Tensor) -> None:
    many, names = images.repeat(5, 1, 1, 1), labels.repeat(5)  # 1200 images
    if name == "two-targets":
        rate = max(rate, 0.01)  # half for each target
    attack = ready(name, many[:COUNT], names[:COUNT], poison_rate=rate)
    result = poisoned(attack, many, names)
    slack = 1 if attack.online else 0
    assert abs(int(result.poisoned.sum()) - round(rate * len(many))) <= slack
    assert abs(int(result.cover.sum()) - round(attack.cover_rate * len(many))) <= slack


def test_batches_are_poisoned_at_the_rate_on_average(images: Tensor, labels: Tensor) -> None:
    attack = ready("wanet", images, labels, poison_rate=0.005)
    generator = torch.Generator().manual_seed(0)
    total = sum(
        int(attack.poison(images[:20], labels[:20], generator).poisoned.sum()) for _ in range(600)
    )
    assert 40 <= total <= 80  # 60 expected, with a standard deviation of 7


@pytest.mark.parametrize("name", CASES)
def test_poisoned_images_get_the_wanted_label(name: str, images: Tensor, labels: Tensor) -> None:
    attack = ready(name, images, labels)
    result = poisoned(attack, images, labels)
    before, after = labels[result.poisoned], result.labels[result.poisoned]
    if name in CLEAN_LABEL:
        assert (before == 1).all()
        assert torch.equal(before, after)
    elif name == "two-targets":
        assert (after == 1).sum() == (after == 4).sum() == 6
        assert (before != after).all()
    else:
        assert torch.equal(after, attack.wanted_label(before))
        assert (before != after).all()


@pytest.mark.parametrize("name", CASES)
def test_the_trigger_is_deterministic_and_keeps_its_input(
    name: str, images: Tensor, labels: Tensor
) -> None:
    attack = ready(name, images, labels)
    before = images[:8].clone()
    with torch.no_grad():
        first, second = attack.trigger(images[:8]), attack.trigger(images[:8])
        alone = torch.cat([attack.trigger(image[None]) for image in images[:8]])
    assert torch.equal(first, second)
    assert torch.allclose(first, alone, atol=1e-6)
    assert torch.equal(images[:8], before)
    assert (first != before).flatten(1).any(1).all()
    assert first.min() >= 0
    assert first.max() <= 1


@pytest.mark.parametrize("name", CASES)
def test_poisoning_follows_the_generator(name: str, images: Tensor, labels: Tensor) -> None:
    attack = ready(name, images, labels)
    first, again, other = (poisoned(attack, images, labels, seed) for seed in (2, 2, 3))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.images, other.images)


@pytest.mark.parametrize("name", CASES)
def test_an_attack_comes_back_from_its_saved_form(
    name: str, images: Tensor, labels: Tensor
) -> None:
    attack = ready(name, images, labels)
    described = json.loads(json.dumps(attack.to_dict()))
    again = restore_attack(described, attack.tensors())
    assert again.to_dict() == attack.to_dict()
    assert again.targets == attack.targets
    assert again.sources == attack.sources
    with torch.no_grad():
        for target in attack.targets or (None,):
            assert torch.allclose(
                again.trigger(images[:8], target), attack.trigger(images[:8], target), atol=2e-3
            )
            assert torch.equal(
                again.wanted_label(labels, target), attack.wanted_label(labels, target)
            )


@pytest.mark.parametrize("name", [name for name in CASES if name != "all-to-all"])
def test_a_target_beyond_the_classes_is_refused(name: str) -> None:
    key, value = ("both", (1, CLASSES)) if name == "two-targets" else ("target", CLASSES)
    with pytest.raises(ConfigError, match="expected target and source classes below 6"):
        make_attack(name, SETTING, {"poison_rate": RATE, **CASES[name], key: value})


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5])
def test_a_rate_outside_its_range_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match=r"expected a poison rate in \(0, 1\]"):
        make_attack("badnets", SETTING, {"poison_rate": rate, "target": 0})


def test_a_rate_that_needs_too_many_images_is_refused(images: Tensor, labels: Tensor) -> None:
    attack = ready("sig", images, labels, poison_rate=0.5)
    with pytest.raises(ConfigError, match="between 1 and 40 of 240 images"):
        poisoned(attack, images, labels)


def test_a_rate_that_changes_nothing_is_refused(images: Tensor, labels: Tensor) -> None:
    attack = ready("badnets", images, labels, poison_rate=0.001)
    with pytest.raises(ConfigError, match=r"got 0.001 \(0 images\)"):
        poisoned(attack, images, labels)


def test_unknown_attacks_and_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected an attack among badnets"):
        make_attack("nothing", SETTING, {"poison_rate": RATE})
    with pytest.raises(ConfigError, match="cannot make the attack blend"):
        make_attack("blend", SETTING, {"poison_rate": RATE, "target": 0, "colour": 1})
    with pytest.raises(DataError, match="expected an attack among badnets"):
        restore_attack({"name": "nothing"}, {})
    with pytest.raises(DataError, match="cannot restore the attack blend"):
        restore_attack({"name": "blend", "poison_rate": RATE}, {})


@pytest.mark.parametrize("name", ["trojan", "label-consistent"])
def test_a_missing_surrogate_is_told(name: str, images: Tensor, labels: Tensor) -> None:
    attack = make_attack(name, SETTING, {"poison_rate": RATE, **CASES[name]})
    assert attack.needs_surrogate
    with pytest.raises(ConfigError, match="expected a surrogate classifier"):
        attack.fitted(images, labels, None, torch.Generator())
