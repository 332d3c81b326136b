"""The same network, computed faster: memory layout and number format that the machine likes.

What a network computes stays as it is, up to rounding. Each change is tried on clean images first,
and left out where the network fails with it or answers differently.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnp_core.arithmetic import full_float32
from rnp_core.errors import ConfigError, is_out_of_memory
from rnp_core.model import SuspectModel
from rnp_core.parts import Parts

_LAYOUT_TOLERANCE = 1e-3
"""Largest relative change of the logits that another memory layout may cause."""

_ROUNDING_TOLERANCE = 0.1
"""The same for bfloat16, whose values have three digits; a network that loses its answer to
rounding changes far more."""

_LOST_PREDICTIONS = 0.03
"""Share of images whose class may change by rounding."""

_SAFE_CHANNELS = 16
"""Input channels from which a strided 1x1 convolution trains safely on a CPU, see
:func:`in_fast_layout`."""


def choose_device(name: str) -> torch.device:
    """The device called "cpu" or "cuda", or for "auto" a GPU where there is one.

    Raises:
        ConfigError: for "cuda" where PyTorch sees no GPU.
    """
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise ConfigError("expected a GPU for --device cuda, PyTorch sees none; use cpu or auto")
    return torch.device("cuda" if found and name != "cpu" else "cpu")


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 matrices faster than float32 ones."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)


@full_float32()
def accelerate(
    model: SuspectModel, images: Tensor, *, mixed_precision: bool | None = None
) -> SuspectModel:
    """A copy of ``model`` with channels-last layout and bfloat16 arithmetic, where these suit it.

    Args:
        images: clean images ``(N, C, H, W)`` in [0, 1] to compare answers on.
        mixed_precision: False keeps float32, None takes bfloat16 where the device is fast at it.
    """
    fast = plain = model.copy()
    with torch.no_grad():
        parts = Parts(len(images))
        expected = torch.cat(parts.run(lambda part: plain(images[part]), len(images)))
        candidate = in_fast_layout(model.copy())
        if _change(_logits(candidate, images), expected) <= _LAYOUT_TOLERANCE:
            fast = candidate
        if mixed_precision is None:
            mixed_precision = has_fast_bfloat16(model.device)
        if mixed_precision:
            candidate = fast.copy()
            candidate.mixed_precision = True
            logits = _logits(candidate, images)
            if _change(logits, expected) <= _ROUNDING_TOLERANCE:
                lost = (logits.argmax(1) != expected.argmax(1)).float().mean()
                fast = candidate if float(lost) <= _LOST_PREDICTIONS else fast
    return fast


def unaccelerated(model: SuspectModel) -> SuspectModel:
    """A copy of ``model`` on the CPU with the plain layout and arithmetic."""
    plain = model.copy().cpu()
    plain.mixed_precision = False
    return _in_layout(plain, torch.contiguous_format)


def in_fast_layout(model: SuspectModel) -> SuspectModel:
    """``model`` itself, brought to channels-last layout unless that is unsafe for it.

    In this layout, the weight gradients of strided 1x1 convolutions with fewer than 16 input
    channels, as in shortcuts of narrow residual networks, are written past their buffers on a CPU
    where the number of images is odd and several threads compute (torch 2.13, float32 and
    bfloat16). The plain layout is not affected.
    """
    if any(tensor.ndim == 5 for tensor in (*model.parameters(), *model.buffers())):
        return model  # this layout is for tensors of four dimensions
    unsafe = model.device.type == "cpu" and any(
        isinstance(module, nn.Conv2d)
        and set(module.kernel_size) == {1}
        and max(module.stride) > 1
        and module.in_channels < _SAFE_CHANNELS
        for module in model.modules()
    )
    return _in_layout(model, torch.contiguous_format if unsafe else torch.channels_last)


def _in_layout(model: SuspectModel, layout: torch.memory_format) -> SuspectModel:
    model.memory_format = layout
    return model.to(memory_format=layout)  # type: ignore[call-overload]


def _logits(candidate: SuspectModel, images: Tensor) -> Tensor:
    """Logits of ``images``; infinite where the network fails, forwards or backwards, as with
    ``.view`` between a channels-last convolution and a classifier.
    """

    def there_and_back(part: slice) -> Tensor:
        with torch.enable_grad():
            logits = candidate(images[part].clone().requires_grad_())
            logits.sum().backward()
        return logits.detach()

    try:
        return torch.cat(Parts(len(images)).run(there_and_back, len(images)))
    except Exception as error:  # the network's own code, which may want the layout it was given
        if is_out_of_memory(error):
            raise
        return images.new_full((len(images), candidate.num_classes), float("inf")).to(
            candidate.device
        )


def _change(logits: Tensor, expected: Tensor) -> float:
    """Largest change of a logit relative to the largest expected one."""
    return float((logits - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
