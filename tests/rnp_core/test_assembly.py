"""From tensors and images to a working model: what is chosen, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rnp_core.assembly import as_suspect_model, assemble, check_labels, plan_network
from rnp_core.data import DefenseSet
from rnp_core.errors import ArchitectureError, ConfigError, DataError, ModelError
from rnp_core.metrics import clean_accuracy
from rnp_core.model import Normalization
from tests.helpers.models import CLASSES, QuadrantNet, Wrapped, planted_model
from tests.helpers.sets import quadrant_set

SET = quadrant_set(10)
SOURCE = """
import torch
from tests.helpers.models import QuadrantMlp, CLASSES

def build(num_classes):
    return QuadrantMlp()
"""


@pytest.fixture
def arch(tmp_path: Path) -> str:
    path = tmp_path / "own.py"
    path.write_text(SOURCE)
    return f"{path}:build"


def state(scale: float = 1.0, shift: float = 0.0) -> dict[str, Tensor]:
    """Weights of the quadrant classifier for images that were normalised as (x - shift) / scale."""
    from tests.helpers.models import QuadrantMlp

    tensors = QuadrantMlp().state_dict()
    weight = tensors["first.weight"]
    tensors["first.bias"] = tensors["first.bias"] + weight.sum(1) * shift - 0.25
    tensors["first.weight"] = weight * scale
    return tensors


def test_the_normalisation_with_the_best_accuracy_is_found(arch: str) -> None:
    tensors = state(scale=0.5, shift=0.5)
    model = assemble(plan_network(tensors, arch=arch, num_classes=CLASSES), tensors, SET)
    assert clean_accuracy(model, SET) == 1.0
    given = Normalization((0.5,) * 3, (0.5,) * 3, "given")
    again = assemble(
        plan_network(tensors, arch=arch, num_classes=CLASSES), tensors, SET, normalization=given
    )
    assert again.normalization == given
    assert clean_accuracy(again, SET) == 1.0


def test_an_unknown_normalisation_is_refused(arch: str) -> None:
    plan = plan_network(state(), arch=arch, num_classes=CLASSES)
    with pytest.raises(ConfigError, match="expected a normalisation among auto, none, cifar10"):
        assemble(plan, state(), SET, normalization="svhn")


def test_images_that_the_network_cannot_take_are_refused(arch: str) -> None:
    plan = plan_network(state(), arch=arch, num_classes=CLASSES)
    large = DefenseSet(torch.rand(8, 3, 20, 20), torch.arange(8) % CLASSES)
    with pytest.raises(ModelError, match="to run on 3x20x20 images, it fails"):
        assemble(plan, state(), large)


def test_tensors_that_do_not_fit_the_callable_are_listed(arch: str) -> None:
    tensors = state()
    del tensors["second.weight"]
    tensors["extra.weight"] = torch.zeros(3, 3)
    with pytest.raises(ArchitectureError, match=r"(?s)second\.weight.*extra\.weight"):
        plan_network(tensors, arch=arch, num_classes=CLASSES)


def test_a_checkpoint_without_weights_is_refused(arch: str) -> None:
    with pytest.raises(ArchitectureError, match="expected convolution or linear weights"):
        plan_network({"step": torch.tensor(3)}, arch=arch)


def test_another_class_count_is_refused() -> None:
    tensors = {"fc1.weight": torch.zeros(8, 48), "fc1.bias": torch.zeros(8)}
    tensors |= {"fc2.weight": torch.zeros(5, 8), "fc2.bias": torch.zeros(5)}
    with pytest.raises(ArchitectureError, match="expected a checkpoint for 7 classes.*has 5"):
        plan_network(tensors, num_classes=7)


def test_any_module_becomes_a_suspect_model() -> None:
    model = as_suspect_model(QuadrantNet().eval(), SET)
    assert model.num_classes == CLASSES
    assert clean_accuracy(model, SET) == 1.0
    assert not model.returns_probabilities


@pytest.mark.parametrize("form", ["softmax", "tuple", "dict"])
def test_softmax_and_containers_are_noticed(form: str) -> None:
    model = as_suspect_model(Wrapped(QuadrantNet(), form).eval(), SET)
    assert model.returns_probabilities == (form == "softmax")
    assert clean_accuracy(model, SET) == 1.0


def test_a_suspect_model_is_copied() -> None:
    given = planted_model()
    assert as_suspect_model(given, SET) is not given


def test_a_module_that_is_no_classifier_is_refused() -> None:
    with pytest.raises(ModelError, match="at least 2 classes, got 1"):
        as_suspect_model(nn.Sequential(nn.Flatten(), nn.Linear(3 * 144, 1)), SET)
    with pytest.raises(ModelError, match="fails on the clean images"):
        as_suspect_model(nn.Linear(5, 5), SET)


def test_fitting_labels_need_no_words() -> None:
    assert check_labels(planted_model(), SET) is None


def test_labels_outside_the_classes_are_refused() -> None:
    with pytest.raises(DataError, match="expected labels below 4.*got 9"):
        check_labels(planted_model(), DefenseSet(SET.images, SET.labels * 3))


def test_another_class_order_is_named() -> None:
    turned = DefenseSet(SET.images, (SET.labels + 1) % CLASSES)
    sentence = check_labels(planted_model(), turned)
    assert sentence is not None
    assert "gets 0% of the clean images right" in sentence
    assert "100% fit after relabelling 0->3, 1->0, 2->1, 3->2" in sentence


def test_random_labels_suggest_no_order() -> None:
    shuffled = SET.labels[torch.randperm(len(SET), generator=torch.Generator().manual_seed(0))]
    sentence = check_labels(planted_model(), DefenseSet(SET.images, shuffled))
    assert sentence is None or "relabelling" not in sentence


def test_outputs_that_are_not_finite_are_refused() -> None:
    model = planted_model()
    model.network.head.bias.data[:] = float("nan")  # type: ignore[union-attr, index]
    with pytest.raises(ModelError, match="NaN or infinite outputs"):
        check_labels(model, SET)
