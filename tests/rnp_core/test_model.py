"""The wrapper: normalisation inside, logits out, and copies that share nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rnp_core.errors import ConfigError, ModelError
from rnp_core.model import Normalization, SuspectModel, take_logits
from tests.helpers.models import QuadrantNet, Wrapped, planted_model, suspect
from tests.helpers.sets import quadrant_set

IMAGES = quadrant_set(2).images


class _Flat(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def test_normalises_every_channel() -> None:
    model = SuspectModel(
        _Flat(),
        normalization=Normalization((0.5, 0.25, 0.0), (0.5, 0.25, 2.0), "given"),
        num_classes=3,
        input_shape=(3, 1, 1),
    )
    images = torch.tensor([0.75, 0.5, 1.0]).view(1, 3, 1, 1)
    assert model(images).tolist() == [[0.5, 1.0, 0.5]]


def test_no_normalisation_leaves_images_as_they_are() -> None:
    plain = Normalization.none(3)
    assert plain == Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "none")
    model = SuspectModel(_Flat(), normalization=plain, num_classes=3, input_shape=(3, 12, 12))
    assert torch.equal(model(IMAGES), IMAGES.flatten(1))


@pytest.mark.parametrize(
    "normalization",
    [Normalization.none(1), Normalization((0.0,) * 3, (1.0,), "given")],
)
def test_normalisation_must_fit_the_channels(normalization: Normalization) -> None:
    with pytest.raises(ModelError, match=r"values for 3 channel\(s\), got mean of . and std of 1"):
        SuspectModel(_Flat(), normalization=normalization, num_classes=3, input_shape=(3, 1, 1))


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0.5,), (0.0,)),
        ((0.5,), (-1.0,)),
        ((0.5, 0.5, 0.5), (0.2, 0.0, 0.2)),
        ((float("nan"),), (1.0,)),
        ((0.5,), (float("inf"),)),
        ((0.5,), (float("nan"),)),
    ],
)
def test_normalisation_that_cannot_be_computed_is_refused(
    mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    message = r"finite means and standard deviations above 0, got mean \(.*\(given\)"
    with pytest.raises(ConfigError, match=message):
        Normalization(mean, std, "given")


@pytest.mark.parametrize("form", ["tuple", "list", "dict", "first"])
def test_takes_the_logits_out_of_containers(form: str) -> None:
    network = QuadrantNet()
    assert torch.equal(suspect(Wrapped(network, form))(IMAGES), suspect(network)(IMAGES))


def test_probabilities_become_logits_again() -> None:
    network = QuadrantNet()
    model = suspect(Wrapped(network, "softmax"), returns_probabilities=True)
    expected = suspect(network)(IMAGES).softmax(1)
    torch.testing.assert_close(model(IMAGES).softmax(1), expected)


def test_a_probability_of_zero_has_a_finite_logit() -> None:
    class Certain(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.tensor([[0.0, 1.0]]).expand(len(images), 2)

    logits = suspect(Certain(), returns_probabilities=True)(IMAGES)
    assert torch.isfinite(logits).all()
    assert logits.softmax(1)[0].tolist() == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.zeros(2), r"shape \(N, classes\), got \(2,\)"),
        (torch.zeros(2, 3, 4), r"got \(2, 3, 4\)"),
        ((), "got tuple"),
        ([], "got list"),
        (None, "got NoneType"),
        (("text", torch.zeros(2, 3)), "got str"),
    ],
)
def test_outputs_without_logits_are_refused(output: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        take_logits(output)


def test_nested_containers() -> None:
    logits = torch.zeros(2, 3)
    assert take_logits([({"logits": logits}, None)]) is logits


def test_a_copy_is_equal_still_and_shares_nothing() -> None:
    model = planted_model()
    model.train()
    model.network.conv.weight.grad = torch.ones_like(model.network.conv.weight)
    duplicate = model.copy()
    assert not any(module.training for module in duplicate.modules())
    assert not any(p.requires_grad or p.grad is not None for p in duplicate.parameters())
    own = {t.data_ptr() for t in (*duplicate.parameters(), *duplicate.buffers())}
    assert own.isdisjoint(t.data_ptr() for t in (*model.parameters(), *model.buffers()))
    model.eval()
    assert torch.equal(duplicate(IMAGES), model(IMAGES))
    with torch.no_grad():
        duplicate.network.conv.weight.zero_()
    assert model.network.conv.weight.abs().sum() > 0


def test_normalisation_is_no_part_of_the_state_dict() -> None:
    assert {name.split(".")[0] for name in planted_model().state_dict()} == {"network"}


def test_class_names() -> None:
    model = planted_model()
    assert model.class_name(3) == "3"
    model.class_names = ("stop", "yield")
    assert [model.class_name(label) for label in range(3)] == ["stop", "yield", "2"]


def test_of_several_outputs_the_one_as_wide_as_the_classes_counts() -> None:
    features, logits = torch.zeros(2, 64), torch.zeros(2, 4)
    assert take_logits((features, logits), 4) is logits
    assert take_logits({"features": features, "out": logits}, 4) is logits
    assert take_logits((features, logits)) is features
