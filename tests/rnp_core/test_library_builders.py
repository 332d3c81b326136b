"""``torchvision:NAME`` and ``timm:NAME``, with stand-ins for these libraries."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

import pytest
import torch
from torch import nn

from rnp_core.architectures import build
from rnp_core.assembly import plan_network
from rnp_core.errors import ArchitectureError

KNOWN = "small_net"
LIBRARIES = ("torchvision", "timm")


def small_net(num_classes: int, in_channels: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.Flatten(), nn.Linear(4, num_classes))


def get_model(name: str, *, weights: object, **options: int) -> nn.Module:
    """As in torchvision.models: ``weights=None`` gives random weights."""
    assert weights is None
    if name != KNOWN:
        raise ValueError(f"Unknown model {name}")
    return small_net(**options)


def create_model(name: str, *, pretrained: bool, **options: int) -> nn.Module:
    """As in timm: ``pretrained=False`` gives random weights."""
    assert pretrained is False
    if name != KNOWN:
        raise RuntimeError(f"Unknown model ({name})")
    return small_net(**options)


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    def stand_in(name: str, function: Callable[..., nn.Module]) -> types.ModuleType:
        module = types.ModuleType(name)
        setattr(module, function.__name__, function)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    parent = stand_in("torchvision", get_model)
    parent.models = stand_in("torchvision.models", get_model)  # type: ignore[attr-defined]
    stand_in("timm", create_model)


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize("library", LIBRARIES)
class TestInstalled:
    def test_the_model_has_as_many_outputs_as_asked(self, library: str) -> None:
        network = build(f"{library}:{KNOWN}", num_classes=7, in_channels=1)
        assert network(torch.zeros(2, 1, 3, 3)).shape == (2, 7)

    def test_the_class_count_comes_from_the_checkpoint(self, library: str) -> None:
        state = small_net(5).state_dict()
        plan = plan_network(state, arch=f"{library}:{KNOWN}")
        assert (plan.architecture, plan.num_classes) == (f"{library}:{KNOWN}", 5)
        for _, make in plan.variants:
            make().load_state_dict(state)

    def test_an_unknown_name_is_refused(self, library: str) -> None:
        with pytest.raises(ArchitectureError, match=f"{library} cannot build vgg99: Unknown model"):
            build(f"{library}:vgg99", num_classes=7)

    def test_arguments_that_the_builder_does_not_take_are_refused(self, library: str) -> None:
        with pytest.raises(ArchitectureError, match=f"{library} cannot build {KNOWN}: .*colour"):
            build(f"{library}:{KNOWN}", num_classes=7, colour=3)

    def test_a_near_miss_lists_every_tensor(self, library: str) -> None:
        state = small_net(5).state_dict()
        del state["0.bias"]
        state["1.extra"] = torch.zeros(2)
        state["0.weight"] = torch.zeros(4, 3, 5, 5)
        with pytest.raises(ArchitectureError) as caught:
            plan_network(state, arch=f"{library}:{KNOWN}")
        message = str(caught.value)
        assert message.startswith(f"{library}:{KNOWN} does not fit the checkpoint")
        assert "missing 0.bias" in message
        assert "unexpected 1.extra" in message
        assert "0.weight: expected (4, 3, 3, 3), got (4, 3, 5, 5)" in message


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_that_is_absent_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("timm", "torchvision", "torchvision.models"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ArchitectureError, match=f"needs {library}, which cannot be imported"):
        build(f"{library}:{KNOWN}", num_classes=7)


def test_a_library_that_does_not_suit_this_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> types.ModuleType:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("rnp_core.architectures.registry.importlib.import_module", broken)
    with pytest.raises(ArchitectureError, match=r"cannot be imported \(operator torchvision::nms"):
        build(f"torchvision:{KNOWN}", num_classes=7)
