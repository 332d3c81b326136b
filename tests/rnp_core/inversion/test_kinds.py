"""Every kind of trigger: range, size and gradient, and the parameters that change nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnp_core.inversion import KINDS, TriggerKind
from rnp_core.inversion.kinds import AdditiveKind, PatchKind, SinusoidKind, WarpKind

LABELS, BATCH = 3, 4
SHAPES = [(3, 12, 12), (1, 9, 16)]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(shape: tuple[int, int, int]) -> Tensor:
    return torch.rand((LABELS, BATCH, *shape), generator=_generator(7))


def _wild(kind: TriggerKind, shape: tuple[int, int, int]) -> list[Tensor]:
    """Parameters far outside their usual range."""
    return [20 * p for p in kind.start(LABELS, shape, _generator(1))]


def test_kinds_are_listed_by_name() -> None:
    assert {"patch", "additive", "warp"} <= set(KINDS)
    assert all(name == kind.name for name, kind in KINDS.items())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_apply_stays_in_range_and_leaves_the_images(
    kind: TriggerKind, shape: tuple[int, int, int]
) -> None:
    images = _images(shape)
    before = images.clone()
    triggered = kind.apply(_wild(kind, shape), images)
    assert triggered.shape == images.shape
    assert triggered.min() >= 0 and triggered.max() <= 1
    assert not torch.equal(triggered, images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_size_and_pixels_are_differentiable(kind: TriggerKind, shape: tuple[int, int, int]) -> None:
    parameters = [p.requires_grad_() for p in kind.start(LABELS, shape, _generator())]
    size = kind.size(parameters)
    assert size.shape == (LABELS,) and (size > 0).all()
    own = torch.autograd.grad(size[0], parameters, allow_unused=True, retain_graph=True)
    assert any(g is not None and g[0].abs().sum() > 0 for g in own)
    assert all(g is None or g[1:].abs().sum() == 0 for g in own)  # labels do not mix
    triggered = kind.apply(parameters, _images(shape))
    for gradient in torch.autograd.grad(triggered[0].square().sum(), parameters):
        assert torch.isfinite(gradient).all()
        assert gradient[0].abs().sum() > 0 and gradient[1:].abs().sum() == 0


ADDED = (AdditiveKind(), SinusoidKind(), WarpKind())


@pytest.mark.parametrize("kind", ADDED, ids=lambda kind: kind.name)
@pytest.mark.parametrize("shape", SHAPES)
def test_zero_parameters_change_nothing(kind: TriggerKind, shape: tuple[int, int, int]) -> None:
    parameters = [torch.zeros_like(p).requires_grad_() for p in kind.start(2, shape, _generator())]
    images = _images(shape)[:2]
    torch.testing.assert_close(kind.apply(parameters, images), images, atol=1e-5, rtol=0)
    size = kind.size(parameters)
    assert size.max() < 0.01
    (gradient,) = torch.autograd.grad(size.sum(), parameters)
    assert torch.isfinite(gradient).all()  # the root has no slope at 0 without its offset


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_pictures_are_images(kind: TriggerKind, shape: tuple[int, int, int]) -> None:
    zero = [torch.zeros_like(p) for p in kind.start(LABELS, shape, _generator())]
    for parameters in (_wild(kind, shape), zero):
        mask, pattern = kind.picture(parameters, shape)
        assert mask.shape == (LABELS, 1, *shape[1:])
        assert pattern.shape == (LABELS, *shape)
        for picture in (mask, pattern):
            assert torch.isfinite(picture).all()
            assert picture.min() >= 0 and picture.max() <= 1


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_start_depends_on_the_generator_alone(kind: TriggerKind) -> None:
    first, again, other = (kind.start(2, (3, 8, 8), _generator(seed)) for seed in (1, 1, 2))
    assert all(len(p) == 2 for p in first)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


# Closed forms


def test_a_patch_is_a_weighted_mean_and_its_size_the_area() -> None:
    mask, pattern = torch.full((1, 1, 4, 4), -50.0), torch.zeros(1, 3, 4, 4)
    mask[0, 0, :2, :2] = 50.0
    mask[0, 0, 3, 3] = 0.0
    images = torch.full((1, 2, 3, 4, 4), 0.9)
    triggered = PatchKind().apply([mask, pattern], images)[0, 1, 0]
    assert triggered[0].tolist() == pytest.approx([0.5, 0.5, 0.9, 0.9])
    assert float(triggered[3, 3]) == pytest.approx(0.7)
    assert float(PatchKind().size([mask, pattern])) == pytest.approx(4.5)


def test_an_additive_trigger_clips_and_its_size_is_in_percent() -> None:
    delta = torch.tensor([0.5, -0.5]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    triggered = AdditiveKind().apply([delta], torch.full((2, 1, 3, 4, 4), 0.75))
    assert triggered[0].unique().tolist() == [1.0]
    assert triggered[1].unique().tolist() == [0.25]
    assert AdditiveKind().size([delta]).tolist() == pytest.approx([50.0, 50.0])
    mask, pattern = AdditiveKind().picture([delta], (3, 4, 4))
    assert mask.unique().tolist() == [1.0]
    assert pattern[0].unique().tolist() == [1.0] and pattern[1].unique().tolist() == [0.0]


def test_a_sinusoid_repeats_with_its_frequency_and_its_size_is_in_percent() -> None:
    wave = torch.tensor([[0.0, 3.0, 0.0, 2.0]])  # three cycles over the width, amplitude 0.2
    images = torch.full((1, 1, 3, 12, 24), 0.5)
    added = SinusoidKind().apply([wave], images)[0, 0] - 0.5
    assert float(added.max()) == pytest.approx(0.2) and float(added.min()) == pytest.approx(-0.2)
    torch.testing.assert_close(added, added.roll(8, dims=-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(added[0, 0], added[2, 7])
    assert float(SinusoidKind().size([wave])) == pytest.approx(20 / 2**0.5)
    assert float(100 * added.square().mean().sqrt()) == pytest.approx(20 / 2**0.5, abs=1e-3)


def test_a_constant_warp_moves_a_ramp_by_percent_of_the_side() -> None:
    points = WarpKind().control_points
    control = torch.zeros(1, 2, points, points)
    control[:, 0] = 10.0  # x only, 10 % of the side
    ramp = torch.linspace(0, 1, 21).expand(1, 1, 3, 21, 21)
    expected = (ramp + 0.1).clamp(0, 1)
    torch.testing.assert_close(WarpKind().apply([control], ramp), expected, atol=1e-5, rtol=0)
    assert float(WarpKind().size([control])) == pytest.approx(10.0)


def test_the_size_of_a_patch_counts_less_in_large_images() -> None:
    patch = KINDS["patch"]
    small, large = patch.initial_weight((3, 32, 32)), patch.initial_weight((3, 224, 224))
    assert large == pytest.approx(small / 49)
    assert patch.initial_weight((1, 28, 28)) == small
