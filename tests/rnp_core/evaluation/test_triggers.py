"""Closed forms of the true triggers, their JSON form, and the shared cards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from rnp_core.errors import DataError
from rnp_core.evaluation.triggers import (
    AdditiveTrigger,
    BlendTrigger,
    PatchTrigger,
    SinusoidTrigger,
    TrueTrigger,
    WarpTrigger,
    trigger_from_card,
    trigger_from_dict,
)
from tests.helpers.shared import SHARED, needs_shared


def _images(count: int = 3, side: int = 8) -> torch.Tensor:
    return torch.rand((count, 3, side, side), generator=torch.Generator().manual_seed(0))


def _pixels(seed: int, side: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, side, side), generator=generator) / 255


TRIGGERS: tuple[TrueTrigger, ...] = (
    PatchTrigger(5, 4, torch.tensor([[1.0, 0.5], [0.0, 0.25]])),
    PatchTrigger(0, 0, torch.tensor([1.0, 0.875, 0.125]).view(3, 1, 1).repeat(1, 2, 3)),
    BlendTrigger(_pixels(1), 0.2),
    AdditiveTrigger(_pixels(2)),
    SinusoidTrigger(),
    WarpTrigger.random(seed=3),
)


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: trigger.kind)
def test_keeps_shape_range_and_the_images_it_got(trigger: TrueTrigger) -> None:
    images = _images()
    before = images.clone()
    triggered = trigger.apply(images)
    assert triggered.shape == images.shape and triggered.dtype == torch.float32
    assert triggered.min() >= 0 and triggered.max() <= 1
    assert not torch.equal(triggered, images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: trigger.kind)
def test_survives_json(trigger: TrueTrigger) -> None:
    again = trigger_from_dict(json.loads(json.dumps(trigger.to_dict())))
    assert type(again) is type(trigger)
    assert torch.equal(again.apply(_images()), trigger.apply(_images()))


def test_patch_replaces_its_rectangle_alone() -> None:
    images = _images()
    triggered = TRIGGERS[0].apply(images)
    changed = (triggered != images).any(dim=1).any(dim=0)
    assert changed.nonzero().tolist() == [[5, 4], [5, 5], [6, 4], [6, 5]]
    assert triggered[2, 1, 5:7, 4:6].tolist() == [[1.0, 0.5], [0.0, 0.25]]


def test_patch_works_on_one_channel() -> None:
    triggered = PatchTrigger(0, 1, torch.ones(2, 2)).apply(torch.zeros(1, 1, 4, 4))
    assert triggered.sum() == 4


def test_patch_outside_the_image_is_refused() -> None:
    with pytest.raises(DataError, match="rows 7 to 8"):
        PatchTrigger(7, 0, torch.ones(2, 2)).apply(_images())


def test_blend_is_a_weighted_mean() -> None:
    image = torch.full((3, 8, 8), 1.0)
    triggered = BlendTrigger(image, 0.25).apply(torch.full((1, 3, 8, 8), 0.5))
    assert torch.allclose(triggered, torch.tensor(0.625))


def test_addition_clips() -> None:
    delta = torch.zeros(3, 8, 8)
    delta[0] = 0.75
    triggered = AdditiveTrigger(delta).apply(torch.full((1, 3, 8, 8), 0.5))
    assert triggered[0, 0].unique().tolist() == [1.0]
    assert triggered[0, 1:].unique().tolist() == [0.5]


def test_sinusoid_is_equal_down_each_column_and_peaks_at_a_quarter_period() -> None:
    triggered = SinusoidTrigger(amplitude=0.2, frequency=2).apply(torch.full((1, 3, 16, 16), 0.5))
    assert torch.equal(triggered[0, :, :1].expand(3, 16, 16), triggered[0])
    assert triggered[0, 0, 0, [0, 2, 4, 6]].tolist() == pytest.approx([0.5, 0.7, 0.5, 0.3])


def test_warp_of_zero_strength_changes_nothing() -> None:
    images = _images()
    still = WarpTrigger(torch.ones(2, 4, 4), strength=0.0)
    assert torch.allclose(still.apply(images), images, atol=1e-5)


def test_constant_warp_moves_a_ramp_by_its_flow() -> None:
    side, strength = 16, 0.75
    ramp = torch.linspace(0, 1, side).expand(1, 3, side, side)  # value = (x + 1) / 2
    control = torch.stack([torch.ones(4, 4), torch.zeros(4, 4)])  # x only
    triggered = WarpTrigger(control, strength).apply(ramp)
    expected = (ramp + strength / side / 2).clamp(0, 1)
    assert torch.allclose(triggered, expected, atol=1e-5)


def test_warp_noise_moves_each_image_on_its_own() -> None:
    side = 16
    ramp = torch.linspace(0, 1, side).expand(2, 3, side, side)
    noise = torch.zeros(2, side, side, 2)
    noise[1, ..., 0] = 1.0
    triggered = WarpTrigger(torch.zeros(2, 4, 4)).apply(ramp, noise)
    assert torch.allclose(triggered[0], ramp[0], atol=1e-5)
    assert torch.allclose(triggered[1], (ramp[1] + 0.5 / side).clamp(0, 1), atol=1e-5)


def test_random_control_grid_has_unit_mean_and_depends_on_the_seed_alone() -> None:
    first, again, other = (WarpTrigger.random(seed=seed).control for seed in (1, 1, 2))
    assert first.shape == (2, 4, 4)
    assert float(first.abs().mean()) == pytest.approx(1)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(DataError, match="got 'laser'"):
        trigger_from_dict({"kind": "laser"})


def _card(folder: Path, **content: object) -> Path:
    path = folder / "card.json"
    path.write_text(json.dumps(content))
    return path


def test_card_with_a_patch(tmp_path: Path) -> None:
    trigger = {"kind": "patch", "rows": [4, 6], "cols": [5, 6], "value": 1.0}
    found = trigger_from_card(_card(tmp_path, target=3, trigger=trigger))
    assert found is not None
    patch, target_label = found
    assert target_label == 3
    assert patch.apply(torch.zeros(1, 1, 8, 8))[0, 0, 4:7, 5:7].sum() == 6


def test_card_with_an_image_to_add(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (51, 0, 255)).save(tmp_path / "delta.png")
    trigger = {"kind": "additive image", "file": "delta.png"}
    found = trigger_from_card(_card(tmp_path, target=0, trigger=trigger))
    assert found is not None
    triggered = found[0].apply(torch.full((1, 3, 8, 8), 0.5))
    assert triggered[0, :, 0, 0].tolist() == pytest.approx([0.7, 0.5, 1.0])


def test_card_of_a_clean_model_has_no_trigger(tmp_path: Path) -> None:
    assert trigger_from_card(_card(tmp_path, target=None, trigger=None)) is None


def test_card_with_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got 'semantic'"):
        trigger_from_card(_card(tmp_path, target=1, trigger={"kind": "semantic"}))


@needs_shared
def test_every_shared_card_is_understood() -> None:
    assert SHARED is not None
    for path in sorted((SHARED / "checkpoints").glob("*/card.json")):
        card = json.loads(path.read_text())
        found = trigger_from_card(path)
        assert (found is None) == (card["trigger"] is None), path.parent.name
        if found is not None:
            channels, side = (1, 28) if card["dataset"] == "mnist" else (3, 32)
            images = torch.full((1, channels, side, side), 0.3)
            assert not torch.equal(found[0].apply(images), images)
