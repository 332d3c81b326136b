"""Layout and precision are changed only where the network's answers stay as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rnp_core import acceleration
from rnp_core.acceleration import (
    accelerate,
    choose_device,
    has_fast_bfloat16,
    unaccelerated,
)
from rnp_core.errors import ConfigError
from tests.helpers.models import QuadrantNet, suspect
from tests.helpers.sets import quadrant_set

IMAGES = quadrant_set(32).images
ROOT = Path(__file__).parents[2]


class _Viewing(nn.Module):
    """Flattens with ``.view``, which channels-last tensors refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.net = QuadrantNet()

    def forward(self, images: Tensor) -> Tensor:
        features = self.net.act(self.net.norm(self.net.conv(images)))
        return self.net.head(features.view(len(images), -1))


class _Solid(nn.Module):
    """Convolves in three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.solid = QuadrantNet(), nn.Conv3d(1, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(self.solid(images[:, None])[:, 0])


class _Hungry(nn.Module):
    """Runs on few images at a time, else out of memory."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.net, self.most = QuadrantNet(), most

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self.net(images)


class _Cancelling(nn.Module):
    """Its answer is a small difference of large numbers, which bfloat16 rounds away."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.large = QuadrantNet(), nn.Linear(4, 4)
        nn.init.eye_(self.large.weight)
        nn.init.constant_(self.large.bias, 10_000.0)

    def forward(self, images: Tensor) -> Tensor:
        return self.large(self.net(images)) - 10_000.0


def test_convolutions_get_channels_last_weights_and_images() -> None:
    model = suspect(QuadrantNet())
    fast = accelerate(model, IMAGES, mixed_precision=False)
    assert fast.memory_format == torch.channels_last
    assert fast.network.conv.weight.is_contiguous(  # type: ignore[union-attr, operator]
        memory_format=torch.channels_last
    )
    assert torch.allclose(fast(IMAGES), model(IMAGES), atol=1e-5)
    assert not model.network.conv.weight.is_contiguous(  # type: ignore[union-attr, operator]
        memory_format=torch.channels_last
    )


@pytest.mark.parametrize("network", [_Viewing, _Solid])
def test_a_network_that_channels_last_does_not_suit_keeps_its_layout(
    network: type[nn.Module],
) -> None:
    model = suspect(network())
    fast = accelerate(model, IMAGES, mixed_precision=False)
    assert fast.memory_format == torch.contiguous_format
    assert torch.equal(fast(IMAGES), model(IMAGES))


class _Shortcut(nn.Module):
    """A strided 1x1 convolution as in a residual network, of ``width`` input channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem, self.shortcut = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 16, 1, 2)
        self.head = nn.Linear(16, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.shortcut(self.stem(images)).mean((2, 3)))


@pytest.mark.parametrize(("width", "safe"), [(3, False), (8, False), (15, False), (16, True)])
def test_narrow_strided_shortcuts_keep_the_plain_layout(width: int, safe: bool) -> None:
    model = suspect(_Shortcut(width))
    strided = model.copy().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for given in (model, strided):
        fast = accelerate(given, IMAGES, mixed_precision=False)
        assert (fast.memory_format == torch.channels_last) == safe
        stem = fast.network.stem.weight  # type: ignore[union-attr]
        assert safe or stem.is_contiguous()  # type: ignore[operator]
        assert torch.allclose(fast(IMAGES), model(IMAGES), atol=1e-5)


_TRAIN = """
import torch
from rnp_core.acceleration import accelerate
from tests.helpers.models import suspect
from tests.rnp_core.test_acceleration import _Shortcut

torch.set_num_threads(2)
images = torch.rand(65, 3, 32, 32)
fast = accelerate(suspect(_Shortcut(8)), images, mixed_precision=False).requires_grad_(True)
for _ in range(20):
    fast(images).square().sum().backward()
"""


def test_narrow_shortcuts_train_on_an_odd_number_of_images_and_several_threads() -> None:
    subprocess.run([sys.executable, "-c", _TRAIN], check=True, cwd=ROOT, timeout=120)


def test_lack_of_memory_is_no_failure_of_the_network() -> None:
    fast = accelerate(suspect(_Hungry(10)), IMAGES, mixed_precision=True)
    assert fast.memory_format == torch.channels_last and fast.mixed_precision
    with pytest.raises(torch.cuda.OutOfMemoryError):
        accelerate(suspect(_Hungry(0)), IMAGES)


def test_bfloat16_is_taken_where_the_answers_stay() -> None:
    model = suspect(QuadrantNet())
    fast = accelerate(model, IMAGES, mixed_precision=True)
    assert fast.mixed_precision
    logits = fast(IMAGES)
    assert logits.dtype == torch.float32
    assert torch.equal(logits.argmax(1), model(IMAGES).argmax(1))


def test_bfloat16_is_left_out_where_rounding_eats_the_answer() -> None:
    model = suspect(_Cancelling())
    fast = accelerate(model, IMAGES, mixed_precision=True)
    assert not fast.mixed_precision
    assert torch.allclose(fast(IMAGES), model(IMAGES), atol=1e-2)


def test_by_default_the_hardware_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    model = suspect(QuadrantNet())
    for answer in (True, False):
        monkeypatch.setattr(acceleration, "has_fast_bfloat16", lambda device, a=answer: a)
        assert accelerate(model, IMAGES).mixed_precision is answer


def test_bfloat16_on_a_processor_follows_its_capabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, fast in (({"amx_bf16": True}, True), ({"avx512_bf16": True}, True), ({}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda f=found: f, raising=False)
        assert has_fast_bfloat16(torch.device("cpu")) is fast
    assert has_fast_bfloat16(torch.device("meta")) is False


def test_the_result_of_a_scan_is_plain_again() -> None:
    plain = unaccelerated(accelerate(suspect(QuadrantNet()), IMAGES, mixed_precision=True))
    assert plain.memory_format == torch.contiguous_format
    assert not plain.mixed_precision
    assert all(p.is_contiguous() for p in plain.parameters())
    assert plain.device == torch.device("cpu")


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="PyTorch sees none; use cpu or auto"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cpu") == torch.device("cpu")
