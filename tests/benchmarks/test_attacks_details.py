"""What is particular to one attack: its paper's point, on images small enough to check by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.attacks import Setting, make_attack
from benchmarks.attacks.input_aware import InputAware
from benchmarks.attacks.label_consistent import LabelConsistent
from benchmarks.attacks.patterns import PATCHES, PICTURES, patch, picture, watermark
from benchmarks.attacks.surrogate import adversarial_images, hidden_features, last_linear
from rnp_core.errors import ConfigError

SETTING = Setting((3, 16, 16), 4, seed=1)
GREY = torch.full((40, 3, 16, 16), 128 / 255)
LABELS = torch.arange(40) % 4


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_badnets_patch_lies_where_it_was_put() -> None:
    attack = make_attack(
        "badnets",
        SETTING,
        {"target": 0, "poison_rate": 0.1, "pattern": "white", "size": 2, "corner": "top-right"},
    )
    changed = (attack.trigger(GREY[:1]) != GREY[:1])[0, 0].nonzero().tolist()
    assert changed == [[1, 13], [1, 14], [2, 13], [2, 14]]


def test_blend_mixes_in_its_ratio() -> None:
    attack = make_attack("blend", SETTING, {"target": 0, "poison_rate": 0.1, "ratio": 0.25})
    expected = 0.75 * GREY[:1] + 0.25 * attack.tensors()["image"]
    assert torch.allclose(attack.trigger(GREY[:1]), expected)


def test_sig_trains_and_tests_with_different_amplitudes() -> None:
    attack = make_attack(
        "sig",
        SETTING,
        {"target": 0, "poison_rate": 0.1, "amplitude": 20 / 255, "test_amplitude": 40 / 255},
    )
    result = attack.poison(GREY, LABELS, generator())
    trained = (result.images[result.poisoned] - GREY[0]).abs().max()
    shown = (attack.trigger(GREY) - GREY).abs().max()
    assert shown / trained == pytest.approx(2, rel=0.03)


def test_adaptive_blend_trains_on_half_of_the_pieces() -> None:
    attack = make_attack(
        "adaptive-blend", SETTING, {"target": 0, "poison_rate": 0.2, "picture": "noise"}
    )
    result = attack.poison(GREY, LABELS, generator())
    assert result.cover.sum() == result.poisoned.sum() == 8
    changed = (result.images != GREY).any(1).float()  # (N, H, W)
    pieces = changed.view(40, 4, 4, 4, 4).mean((2, 4)) > 0.5
    touched = result.poisoned | result.cover
    assert (pieces[touched].flatten(1).sum(1) == 8).all()
    assert len({tuple(row) for row in pieces[touched].flatten(1).tolist()}) > 8
    assert ((attack.trigger(GREY) != GREY).any(1).float().mean()) > 0.9


def test_all_to_all_moves_every_class_to_the_next() -> None:
    attack = make_attack("all-to-all", SETTING, {"poison_rate": 0.5})
    assert attack.targets == ()
    assert attack.wanted_label(torch.tensor([0, 1, 2, 3])).tolist() == [1, 2, 3, 0]
    result = attack.poison(GREY, LABELS, generator())
    assert set(LABELS[result.poisoned].tolist()) == {0, 1, 2, 3}


def test_source_specific_covers_every_other_class() -> None:
    attack = make_attack(
        "source-specific",
        SETTING,
        {"target": 0, "source_classes": (2,), "poison_rate": 0.2, "covered": 0.5},
    )
    result = attack.poison(GREY, LABELS, generator())
    assert set(LABELS[result.poisoned].tolist()) == {2}
    assert set(LABELS[result.cover].tolist()) == {0, 1, 3}
    assert result.cover.sum() == 20
    with pytest.raises(ConfigError, match="expected source classes other than the target 0"):
        make_attack(
            "source-specific", SETTING, {"target": 0, "source_classes": (0,), "poison_rate": 0.2}
        )


def test_two_targets_have_their_own_triggers() -> None:
    attack = make_attack("two-targets", SETTING, {"both": (1, 3), "poison_rate": 0.2})
    first, second = attack.trigger(GREY[:1], 1), attack.trigger(GREY[:1], 3)
    assert torch.equal(first, attack.trigger(GREY[:1]))
    assert not ((first != GREY[:1]) & (second != GREY[:1])).any()
    assert attack.wanted_label(LABELS, 3).unique().tolist() == [3]
    with pytest.raises(ConfigError, match=r"expected a target among \(1, 3\), got 2"):
        attack.trigger(GREY, 2)
    with pytest.raises(ConfigError, match="expected two different target classes"):
        make_attack("two-targets", SETTING, {"both": (1, 1), "poison_rate": 0.2})


def test_wanet_jitters_its_cover_images_differently() -> None:
    pictures = torch.rand((40, 3, 16, 16), generator=generator())
    attack = make_attack("wanet", SETTING, {"target": 0, "poison_rate": 0.2, "strength": 2.0})
    result = attack.poison(pictures, LABELS, generator())
    assert torch.allclose(
        result.images[result.poisoned], attack.trigger(pictures[result.poisoned])
    )
    jittered = result.images[result.cover] - attack.trigger(pictures[result.cover])
    assert (jittered.abs().flatten(1).max(1).values > 0.01).all()
    with pytest.raises(ConfigError, match="expected warped and jittered images to be at most all"):
        make_attack("wanet", SETTING, {"target": 0, "poison_rate": 0.5})


def test_an_input_aware_mask_becomes_sparse_and_triggers_differ() -> None:
    pictures = torch.rand((64, 3, 16, 16), generator=generator())
    attack = make_attack(
        "input-aware", SETTING, {"target": 0, "poison_rate": 0.1, "mask_steps": 40, "width": 4}
    )
    assert isinstance(attack, InputAware)
    with torch.no_grad():
        before = float(attack.mask_net(pictures).mean())
    fitted = attack.fitted(pictures, torch.zeros(64), None, generator())
    with torch.no_grad():
        after = fitted.mask_net(pictures)
    assert float(after.mean()) < before / 2
    assert not any(p.requires_grad for p in fitted.mask_net.parameters())
    assert (after[0] - after[1]).abs().max() > 0.01


def test_input_aware_gradients_reach_the_pattern_network() -> None:
    pictures = torch.rand((16, 3, 16, 16), generator=generator())
    attack = make_attack("input-aware", SETTING, {"target": 0, "poison_rate": 0.5, "width": 4})
    assert isinstance(attack, InputAware)
    result = attack.poison(pictures, torch.arange(16) % 4, generator())
    (result.images.mean() + attack.own_loss(pictures)).backward()
    gradients = [p.grad for p in attack.pattern_net.parameters()]
    assert all(g is not None and g.abs().sum() > 0 for g in gradients[:1])


def two_unit_classifier() -> nn.Module:
    """The second hidden unit is the brightness, and matters far more than the first."""
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2), nn.Linear(2, 4))
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[0.0, 0, 0], [1, 1, 1]]))
        model[2].bias.zero_()
        model[3].weight.copy_(torch.tensor([[0.0, 5], [0.1, -5], [0, 1], [0, 0]]))
        model[3].bias.zero_()
    return model


def test_a_trojan_pattern_excites_the_strongest_unit() -> None:
    model = two_unit_classifier()
    attack = make_attack("trojan", SETTING, {"target": 0, "poison_rate": 0.1, "steps": 60})
    fitted = attack.fitted(GREY, LABELS, model, generator())
    features = hidden_features(model)
    before, after = (features(a.trigger(GREY[:4]))[:, 1].mean() for a in (attack, fitted))
    inside = fitted.tensors()["mask"].bool().expand(3, -1, -1)
    assert after > before
    assert (fitted.tensors()["pattern"][inside] > 0.95).all()  # all white is brightest
    assert not (fitted.trigger(GREY[:1])[0] != GREY[0])[~inside].any()


def test_a_trojan_watermark_lets_the_image_through() -> None:
    attack = make_attack(
        "trojan", SETTING, {"target": 0, "poison_rate": 0.1, "form": "watermark"}
    )
    mask = attack.tensors()["mask"]
    assert mask.unique().tolist() == pytest.approx([0, 0.7])
    with pytest.raises(ConfigError, match="expected the form square or watermark"):
        make_attack("trojan", SETTING, {"target": 0, "poison_rate": 0.1, "form": "ring"})


def test_label_consistent_images_are_harder_but_near() -> None:
    model = two_unit_classifier()
    attack = make_attack(
        "label-consistent",
        SETTING,
        {"target": 0, "poison_rate": 0.2, "epsilon": 0.1, "steps": 5, "size": 2},
    ).fitted(GREY, LABELS, model, generator())
    result = attack.poison(GREY, LABELS, generator())
    inside = attack.tensors()["mask"].bool()[0]
    changed = (result.images[result.poisoned] - GREY[0])[:, :, ~inside]
    assert 0.05 < changed.abs().max() <= 0.1 + 1 / 255
    assert changed.mean() < -0.05  # darker, since brightness speaks for the target
    assert inside.sum() == 16
    assert inside[:2, :2].all()
    assert inside[-2:, -2:].all()


def test_label_consistent_interpolation_mixes_in_other_classes() -> None:
    pictures = LABELS[:, None, None, None] / 4 + torch.zeros(40, 3, 16, 16)
    attack = make_attack(
        "label-consistent",
        SETTING,
        {"target": 0, "poison_rate": 0.2, "hardening": "interpolation", "mix": 0.5},
    )
    assert not attack.needs_surrogate
    with pytest.raises(ConfigError, match=r"call fitted\(\) first"):
        attack.poison(pictures, LABELS, generator())
    result = attack.fitted(pictures, LABELS, None, generator()).poison(
        pictures, LABELS, generator()
    )
    middle = result.images[result.poisoned][:, 0, 8, 8]
    assert set((middle * 8).round().int().tolist()) <= {1, 2, 3}
    with pytest.raises(ConfigError, match="expected a hardening among"):
        LabelConsistent(
            target=0, poison_rate=0.1, hardening="x", mask=torch.zeros(1), pattern=torch.zeros(1)
        )


def test_adversarial_images_stay_near_and_raise_the_loss() -> None:
    model = two_unit_classifier()
    changed = adversarial_images(
        model, GREY, LABELS, epsilon=0.05, steps=3, generator=generator()
    )
    loss = nn.functional.cross_entropy
    assert (changed - GREY).abs().max() <= 0.05 + 1e-6
    assert loss(model(changed), LABELS) > loss(model(GREY), LABELS)
    assert all(p.grad is None for p in model.parameters())


def test_a_surrogate_without_a_linear_layer_is_refused() -> None:
    with pytest.raises(ConfigError, match="with a linear layer"):
        last_linear(nn.Conv2d(3, 3, 1))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_patterns_have_the_shape_and_range_of_images(shape: tuple[int, int, int]) -> None:
    for kind in PICTURES:
        drawn = picture(kind, shape, seed=1)
        assert drawn.shape == shape
        assert 0 <= drawn.min() < drawn.max() <= 1
        assert torch.equal(drawn, picture(kind, shape, seed=1))
    for kind in PATCHES:
        values = patch(kind, shape, size=4, corner="top-left", margin=0, seed=1).values
        assert values.shape == (shape[0], 4, 4)
    assert 0.05 < watermark(shape).mean() < 0.3


def test_bad_patterns_are_refused() -> None:
    shape = (3, 8, 8)
    for kind, corner, size, words in (
        ("circle", "top-left", 2, "expected a patch among"),
        ("white", "middle", 2, "expected a corner among"),
        ("white", "top-left", 9, "expected a patch inside 8x8"),
    ):
        with pytest.raises(ConfigError, match=words):
            patch(kind, shape, size=size, corner=corner, margin=0, seed=0)
    with pytest.raises(ConfigError, match="expected a picture among"):
        picture("cat", shape, seed=0)
