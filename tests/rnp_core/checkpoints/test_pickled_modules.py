"""Whole pickled networks: the inert reader gives exactly the tensors of the state dict."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnp_core.architectures import build, list_architectures
from rnp_core.checkpoints import Checkpoint, load_checkpoint
from tests.helpers import layout_files as files

# One of each family; the slow test reads every listed architecture in both containers.
SMALL = ("resnet20", "wrn16-1", "mobilenet_v2", "densenet100_cifar", "efficientnet_b0", "lenet")


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


@pytest.mark.parametrize("name", SMALL)
def test_small_architectures(name: str, tmp_path) -> None:
    model = randomise(build(name, num_classes=10))
    save_and_check(model, tmp_path / "zip.pth", legacy=False)


def test_legacy_container(tmp_path) -> None:
    model = randomise(build("resnet20", num_classes=10))
    save_and_check(model, tmp_path / "legacy.pth", legacy=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_architectures())
def test_every_architecture(name: str, tmp_path) -> None:
    model = randomise(build(name, num_classes=10))
    save_and_check(model, tmp_path / "zip.pth", legacy=False)
    save_and_check(model, tmp_path / "legacy.pth", legacy=True)


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
