"""Whole pickled networks: the inert reader gives exactly the tensors of the state dict."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from rnp_core.architectures import build, list_architectures
from rnp_core.architectures.registry import FAMILIES
from rnp_core.checkpoints import Checkpoint, load_checkpoint
from tests.helpers import layout_files as files

CONTAINERS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
STAGES = {"widths": (8, 16, 24, 32)}
NARROW = {  # same modules and names as in full size, with few channels
    "resnet": STAGES,
    "preactresnet": STAGES,
    "wrn": STAGES,
    "convnext": STAGES,
    "densenet": {"growth": 4},
    "densenet_cifar": {"growth": 4},
    "vit": {"image_size": 64, "width": 48, "heads": 4, "hidden": 96},
}


DEEP = re.compile("densenet(121|161|169|201)|resnet(101|110|152)")  # seconds each
BY_COST = [
    pytest.param(name, marks=[pytest.mark.slow] if DEEP.match(name) else [])
    for name in list_architectures()
]


def check(checkpoint: Checkpoint, expected: dict[str, torch.Tensor]) -> None:
    assert checkpoint.reader == "inert"
    assert list(checkpoint.state) == list(expected)
    for name, value in expected.items():
        assert torch.equal(checkpoint.state[name], value), name
        assert checkpoint.state[name].dtype == value.dtype


def save_and_check(model: nn.Module, path, *, legacy: bool) -> None:
    checkpoint = load_checkpoint(files.save(model, path, legacy=legacy))
    check(checkpoint, dict(model.state_dict()))
    path.unlink()
    classes = {f"{type(m).__module__}.{type(m).__qualname__}" for m in model.modules()}
    assert set(checkpoint.hints.module_classes) == classes


def randomise(model: nn.Module) -> nn.Module:
    """Different values in every tensor, so that a swap of two would show."""
    for number, value in enumerate(model.state_dict().values()):
        value.copy_(torch.full_like(value, number % 1000))
    return model


def narrow(name: str) -> nn.Module:
    """A listed architecture with few channels."""
    family = next(family for family in FAMILIES if name in family.presets)
    preset = family.presets[name]
    options = dict(NARROW.get(family.name, {}))
    if "widths" in options:
        options["widths"] = options["widths"][: len(preset.get("depths", range(4)))]
    if family.name == "vgg":
        layout = [v if isinstance(v, str) else v // 8 for v in preset["layout"]]
        options = {"layout": layout, "hidden": [16 for _ in preset.get("hidden", ())]}
    return build(name, num_classes=10, **options)


@CONTAINERS
@pytest.mark.parametrize("name", BY_COST)
def test_every_architecture(name: str, legacy: bool, tmp_path) -> None:
    save_and_check(randomise(narrow(name)), tmp_path / "module.pth", legacy=legacy)


@pytest.mark.slow
@CONTAINERS
@pytest.mark.parametrize("name", list_architectures())
def test_every_architecture_in_full_size(name: str, legacy: bool, tmp_path) -> None:
    model = randomise(build(name, num_classes=10))
    save_and_check(model, tmp_path / "module.pth", legacy=legacy)


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, lambda m: {"epoch": 1, "model": m}, lambda m: [m]]
)
def test_wrapped_modules(wrap, tmp_path) -> None:
    model = files.network()
    check(load_checkpoint(files.save(wrap(model), tmp_path / "m.pth")), dict(model.state_dict()))


def test_shared_modules_tied_weights_and_transient_buffers(tmp_path) -> None:
    model = files.network()
    model.again = model.fc
    model.bn1.register_buffer("scratch", torch.zeros(3), persistent=False)
    model.conv1.half()
    check(
        load_checkpoint(files.save(model, tmp_path / "m.pth")),
        {
            name: value.float() if value.dtype == torch.float16 else value
            for name, value in model.state_dict().items()
        },
    )


def test_views_and_strides(tmp_path) -> None:
    base = torch.arange(24.0)
    state = {
        "a": base[4:10],
        "b": base.view(4, 6).t(),
        "c": base[:1].expand(5),
        "d": base.view(2, 3, 4).to(memory_format=torch.contiguous_format)[:, 1],
        "e": torch.zeros(0, 3),
        "f": torch.tensor(2.5),
        "g": nn.Parameter(torch.ones(2, 2)),
        "h": torch.randn(2, 4, 3, 3).to(memory_format=torch.channels_last),
        "object": object.__new__(nn.Identity),  # makes the inert reader take the file
    }
    for legacy in (False, True):
        checkpoint = load_checkpoint(files.save(state, tmp_path / "m.pth", legacy=legacy))
        assert checkpoint.reader == "inert"
        for name in "abcdefgh":
            assert torch.equal(checkpoint.state[name], state[name].detach()), (name, legacy)
            assert checkpoint.state[name].is_contiguous()
