"""From tensors and images to a working model: what is chosen, and what is refused."""

from __future__ import annotations

import sys
import threading
import types
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.prune import identity

from rnp_core.assembly import (
    NORMALIZATIONS,
    NetworkPlan,
    as_suspect_model,
    assemble,
    check_labels,
    plan_network,
)
from rnp_core.data import DefenseSet
from rnp_core.errors import ArchitectureError, ConfigError, DataError, ModelError
from rnp_core.metrics import clean_accuracy, clean_loss, predict
from rnp_core.model import Normalization, SuspectModel
from rnp_core.stages.filter_mask import find_maskable_layers
from tests.helpers.models import CLASSES, QuadrantMlp, QuadrantNet, Wrapped, planted_model
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
    tensors = QuadrantMlp().state_dict()
    weight = tensors["first.weight"]
    tensors["first.bias"] = tensors["first.bias"] + weight.sum(1) * shift - 0.25
    tensors["first.weight"] = weight * scale
    return tensors


def test_the_normalisation_is_found(arch: str) -> None:
    tensors = state(scale=0.5, shift=0.5)
    model = assemble(plan_network(tensors, arch=arch, num_classes=CLASSES), tensors, SET)
    assert clean_accuracy(model, SET) == 1.0
    given = Normalization((0.5,) * 3, (0.5,) * 3, "given")
    again = assemble(
        plan_network(tensors, arch=arch, num_classes=CLASSES), tensors, SET, normalization=given
    )
    assert again.normalization == given
    assert clean_accuracy(again, SET) == 1.0


@pytest.mark.parametrize("wrong_labels", [0, 2])
def test_of_normalisations_with_the_same_accuracy_the_one_of_the_least_loss_is_taken(
    arch: str, wrong_labels: int
) -> None:
    scale, shift = 0.225, 0.45
    tensors = state(scale=scale, shift=shift)
    labels = SET.labels.clone()
    labels[:wrong_labels] = (labels[:wrong_labels] + 1) % CLASSES
    images = DefenseSet(SET.images, labels)
    plan = plan_network(tensors, arch=arch, num_classes=CLASSES)
    of = {
        name: assemble(plan, tensors, images, normalization=name)
        for name, (mean, _) in NORMALIZATIONS.items() if len(mean) == 3
    }
    accuracies = {clean_accuracy(model, images) for model in of.values()}
    losses = {name: clean_loss(model, images) for name, model in of.items()}
    found = assemble(plan, tensors, images).normalization.source
    assert len(accuracies) == 1
    assert found == min(losses, key=lambda name: losses[name]) == "imagenet"


def test_of_the_readings_that_the_tensors_leave_the_one_that_runs_is_taken() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                            nn.Flatten(), nn.Linear(4 * 36, CLASSES))  # fmt: skip
    plan = plan_network(network.state_dict())
    assert plan.input_size != 12
    model = assemble(plan, network.state_dict(), SET)
    assert model(SET.images).shape == (len(SET), CLASSES)
    with pytest.raises(ModelError, match="on 3x4x4 images, it fails: "):
        assemble(plan, network.state_dict(), DefenseSet(SET.images[..., :4, :4], SET.labels))


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


def test_the_class_count_does_not_depend_on_the_order_of_the_tensors(tmp_path: Path) -> None:
    source = tmp_path / "late.py"
    source.write_text(
        "from collections import OrderedDict\nfrom torch import nn\n"
        "def network(num_classes):\n"
        "    return nn.Sequential(OrderedDict(features=nn.Conv2d(1, 8, 3), flat=nn.Flatten(),\n"
        "                                     classifier=nn.Linear(8, num_classes)))\n"
        "def fixed():\n    return network(5)\n"
    )
    tensors = {"classifier.weight": torch.zeros(5, 8), "classifier.bias": torch.zeros(5)}
    tensors |= {"features.weight": torch.zeros(8, 1, 3, 3), "features.bias": torch.zeros(8)}
    for reference in (f"{source}:network", f"{source}:fixed"):
        plan = plan_network(tensors, arch=reference)
        assert (plan.num_classes, plan.in_channels) == (5, 1)
    with pytest.raises(ArchitectureError, match=r"classifier.weight: expected \(7, 8\)"):
        plan_network(tensors, arch=f"{source}:network", num_classes=7)
    wrong = plan_network(tensors, arch=f"{source}:fixed", num_classes=7)
    grey = DefenseSet(torch.rand(8, 1, 3, 3), torch.arange(8) % 5)
    with pytest.raises(ModelError, match="expected 7 outputs of .*it gives 5; set --num-classes 5"):
        assemble(wrong, tensors, grey)


@pytest.mark.parametrize(
    ("first", "channels"),
    [
        ("Linear(784, 8)", 1),
        ("Linear(3072, 8)", 3),
        ("Linear(7, 8)", 3),
        ("Conv2d(1, 8, 3)", 1),
        ("Conv2d(12, 8, 3)", 3),  # pixels of 2x2 squares as channels
    ],
)
def test_the_first_layer_of_an_own_network_tells_its_channels(
    tmp_path: Path, first: str, channels: int
) -> None:
    source = f"from torch.nn import *\ndef build():\n    return Sequential({first}, Linear(8, 4))"
    (tmp_path / "first.py").write_text(source)
    tensors = eval(f"nn.Sequential(nn.{first}, nn.Linear(8, 4))").state_dict()
    assert plan_network(tensors, arch=f"{tmp_path}/first.py:build").in_channels == channels


def test_models_of_a_library_go_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, *, pretrained: bool, num_classes: int) -> nn.Module:
        assert (name, pretrained) == ("quadrants", False)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 144, num_classes))

    library = types.ModuleType("timm")
    library.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", library)
    tensors = {"1.weight": torch.zeros(CLASSES, 3 * 144), "1.bias": torch.zeros(CLASSES)}
    plan = plan_network(tensors, arch="timm:quadrants")
    assert (plan.architecture, plan.num_classes) == ("timm:quadrants", CLASSES)
    assert assemble(plan, tensors, SET).num_classes == CLASSES
    with pytest.raises(ArchitectureError, match="timm:quadrants does not fit the checkpoint"):
        plan_network({"2.weight": torch.zeros(CLASSES, 3 * 144)}, arch="timm:quadrants")
    with pytest.raises(ArchitectureError, match="expected torchvision:NAME or timm:NAME"):
        plan_network(tensors, arch="keras:quadrants")


def test_an_own_network_may_fail_in_any_way() -> None:
    class Broken(nn.Module):
        def __init__(self, error: Exception) -> None:
            super().__init__()
            self.error = error
            self.layer = nn.Linear(1, 2)

        def forward(self, images: Tensor) -> Tensor:
            raise self.error

    tensors = nn.Linear(1, 2).state_dict(prefix="layer.")
    for error, words in (
        (TypeError("no such call\nat all"), "no such call"),
        (KeyError("stem"), "stem"),
        (AssertionError(), "AssertionError"),
        (AttributeError("no attribute 'fc'"), "no attribute 'fc'"),
    ):
        plan = NetworkPlan("own", 2, 3, None, (("as given", partial(Broken, error)),))
        with pytest.raises(ModelError, match=f"it fails: .*{words}.?$"):
            assemble(plan, tensors, SET)
        with pytest.raises(ModelError, match=f"fails on the clean images: .*{words}.?$"):
            as_suspect_model(Broken(error), SET)


def test_a_network_that_lacks_tensors_is_refused() -> None:
    plan = NetworkPlan("own", 2, 3, None, (("as given", lambda: nn.Linear(1, 2)),))
    with pytest.raises(ArchitectureError, match=r"missing \['bias'\], unexpected \['b'\]"):
        assemble(plan, {"weight": torch.zeros(2, 1), "b": torch.zeros(2)}, SET)


def test_grey_images_are_normalised_like_colour_ones_of_the_name() -> None:
    tensors = {"1.weight": torch.zeros(CLASSES, 144), "1.bias": torch.zeros(CLASSES)}
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, CLASSES))
    plan = NetworkPlan("own", CLASSES, 1, None, (("as given", lambda: network),))
    grey = DefenseSet(SET.images.mean(1, keepdim=True), SET.labels)
    model = assemble(plan, tensors, grey, normalization="imagenet")
    assert model.normalization.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))
    colour = DefenseSet(SET.images, SET.labels)
    flat = NetworkPlan("own", CLASSES, 3, None, (("as given", lambda: QuadrantMlp()),))
    model = assemble(flat, QuadrantMlp().state_dict(), colour, normalization="mnist")
    assert model.normalization.mean == (0.1307,) * 3


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


class _SeveralOutputs(nn.Module):
    """Logits beside features and other heads, in a given order."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.net, self.order = QuadrantNet(), order

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        logits = self.net(images)
        outputs = {
            "map": images,
            "wide": images.flatten(1)[:, :30],
            "rotation": images.flatten(1)[:, :2],
            "one": logits[:, :1],
            "logits": logits,
        }
        return tuple(outputs[name] for name in self.order.split())


@pytest.mark.parametrize(
    "order", ["wide logits", "map logits", "logits rotation", "one rotation wide logits"]
)
def test_of_several_outputs_those_that_agree_with_the_labels_are_the_logits(order: str) -> None:
    network = _SeveralOutputs(order).eval()
    model = as_suspect_model(network, SET)
    assert model.num_classes == CLASSES
    assert clean_accuracy(model, SET) == 1.0
    assert not network._forward_hooks and not model.network._forward_hooks


def test_a_suspect_model_is_copied() -> None:
    given = planted_model()
    assert as_suspect_model(given, SET) is not given


class _Viewing(nn.Module):
    """Flattens with ``.view``, which channels-last tensors refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.net = QuadrantNet()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.net.act(self.net.norm(self.net.conv(images)))
        return self.net.head(features.view(len(images), -1))


def test_a_network_that_calls_view_is_taken_with_images_of_any_layout() -> None:
    model = as_suspect_model(_Viewing().eval(), SET)
    strided = SET.images.contiguous(memory_format=torch.channels_last)
    assert clean_accuracy(model, SET) == 1.0
    assert torch.equal(model(strided), model(SET.images))
    from_strided = as_suspect_model(_Viewing().eval(), DefenseSet(strided, SET.labels))
    assert clean_accuracy(from_strided, SET) == 1.0
    assert find_maskable_layers(from_strided, strided[:2])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_precisions_are_scanned_in_float32(dtype: torch.dtype) -> None:
    network = QuadrantNet().eval().to(dtype)
    model = as_suspect_model(network, SET)
    assert clean_accuracy(model, SET) == 1.0
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.dtype for p in network.parameters()} == {dtype}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("kind", ["prune", "weight_norm"])
def test_weights_that_a_hook_computes_are_copied(kind: str) -> None:
    network = QuadrantNet()
    if kind == "prune":
        identity(network.conv, "weight")
    else:
        torch.nn.utils.weight_norm(network.conv)
    network.eval()(SET.images)  # now its weight has a history
    weight = network.conv.weight
    model = as_suspect_model(network, SET)
    assert clean_accuracy(model, SET) == 1.0
    model.requires_grad_(True)
    assert clean_accuracy(model, SET) == 1.0
    images = SET.images[:2]
    assert torch.equal(model.copy()(images), model(images))
    assert network.conv.weight is weight and weight.grad_fn is not None


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_refused_with_advice() -> None:
    scripted = torch.jit.trace(QuadrantNet().eval(), SET.images[:2])
    with pytest.raises(ModelError, match="TorchScript.*give the module that it was made from"):
        as_suspect_model(nn.Sequential(scripted), SET)


def test_a_module_that_cannot_be_copied_is_refused() -> None:
    network = QuadrantNet().eval()
    network.door = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(ModelError, match="cannot pickle"):
        as_suspect_model(network, SET)


def test_images_of_another_size_than_the_model_are_refused() -> None:
    larger = DefenseSet(torch.zeros(8, 3, 16, 16), torch.arange(8) % CLASSES)
    with pytest.raises(DataError, match=r"expected clean images of shape \(3, 12, 12\)"):
        as_suspect_model(planted_model(), larger)


def doubts(model: SuspectModel, defense_set: DefenseSet) -> str | None:
    return check_labels(model, defense_set, predict(model, defense_set.images))


@pytest.mark.parametrize(("classes", "right", "doubted"), [(2, 55, True), (2, 70, False)])
def test_chance_counts_when_there_are_few_classes(
    classes: int, right: int, doubted: bool
) -> None:
    labels = torch.arange(100) % classes
    predicted = torch.where(torch.arange(100) < right, labels, 1 - labels)
    images = predicted.float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[-1.0] * 4, [1.0] * 4]))
        network[1].bias.copy_(torch.tensor([2.0, -2.0]))
    found = doubts(as_suspect_model(network, DefenseSet(images, labels)),
                         DefenseSet(images, labels))
    assert (found is not None) == doubted


def test_a_module_that_is_no_classifier_is_refused() -> None:
    with pytest.raises(ModelError, match="at least 2 classes, got 1"):
        as_suspect_model(nn.Sequential(nn.Flatten(), nn.Linear(3 * 144, 1)), SET)
    with pytest.raises(ModelError, match="fails on the clean images"):
        as_suspect_model(nn.Linear(5, 5), SET)
    for other in (QuadrantNet().state_dict(), QuadrantNet, None):
        with pytest.raises(ModelError, match="expected a model that is a torch.nn.Module, got"):
            as_suspect_model(other, SET)  # type: ignore[arg-type]


def test_a_suspect_model_that_miscounts_its_classes_is_refused() -> None:
    model = planted_model()
    model.num_classes = 7
    with pytest.raises(ModelError, match=f"expected 7 outputs.*got {CLASSES}"):
        as_suspect_model(model, SET)


def test_fitting_labels_need_no_words() -> None:
    assert doubts(planted_model(), SET) is None


def test_labels_outside_the_classes_are_refused() -> None:
    with pytest.raises(DataError, match="expected labels below 4.*got 9"):
        doubts(planted_model(), DefenseSet(SET.images, SET.labels * 3))


def test_another_class_order_is_named() -> None:
    turned = DefenseSet(SET.images, (SET.labels + 1) % CLASSES)
    sentence = doubts(planted_model(), turned)
    assert sentence is not None
    assert "gets 0% of the clean images right" in sentence
    assert "100% fit after relabelling 0->3, 1->0, 2->1, 3->2" in sentence


def test_random_labels_suggest_no_order() -> None:
    shuffled = SET.labels[torch.randperm(len(SET), generator=torch.Generator().manual_seed(0))]
    sentence = doubts(planted_model(), DefenseSet(SET.images, shuffled))
    assert sentence is None or "relabelling" not in sentence


class _Table(nn.Module):
    """Answers image number i, told by its brightness, with ``said[i]``."""

    def __init__(self, said: Tensor, classes: int) -> None:
        super().__init__()
        self.said, self.classes = said, classes

    def forward(self, images: Tensor) -> Tensor:
        rows = (images[:, 0, 0, 0] * (len(self.said) - 1)).round().long()
        return nn.functional.one_hot(self.said[rows], self.classes).float()


def _sentence(labels: Tensor, said: Tensor, classes: int) -> str:
    images = torch.linspace(0, 1, len(said)).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    defense_set = DefenseSet(images, labels)
    sentence = doubts(as_suspect_model(_Table(said, classes), defense_set), defense_set)
    assert sentence is not None
    return sentence


def test_an_order_among_thousands_of_classes_is_found_and_its_list_has_an_end() -> None:
    labels = torch.arange(120) % 60
    sentence = _sentence(labels, (labels + 1) % 20000, 20000)
    assert "100% fit after relabelling 0->1, 1->2, " in sentence
    assert sentence.endswith("49->50 and 10 more.")


def test_an_order_that_only_chance_fits_is_not_named() -> None:
    labels = torch.arange(80) % 4
    said = 10 + torch.arange(80)  # something else each time: any order fits every image it saw
    assert "relabelling" not in _sentence(labels, said, 100)
    assert "relabelling" not in _sentence(torch.arange(80), said, 100)


def test_outputs_that_are_not_finite_are_refused() -> None:
    model = planted_model()
    model.network.head.bias.data[:] = float("nan")  # type: ignore[union-attr, index]
    with pytest.raises(ModelError, match="NaN or infinite outputs"):
        doubts(model, SET)
