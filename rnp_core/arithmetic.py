"""How PyTorch computes while something runs; every setting is put back afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


@contextmanager
def full_float32() -> Iterator[None]:
    """Convolutions of float32 numbers keep all digits; by default, GPUs round to the three of TF32.

    Set is what PyTorch asks for convolutions alone: the older ``allow_tf32`` cannot even be read
    where somebody has used the newer names.
    """
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    with _set(convolutions, "fp32_precision", "ieee"):
        yield


@contextmanager
def bfloat16_where_fast(device: torch.device) -> Iterator[None]:
    """Autocast to bfloat16; on a CPU without what is slower in it than in float32.

    That are grouped convolutions and PyTorch's own attention, whose backward passes in bfloat16
    take two to nine times as long (torch 2.13, AVX-512 BF16 and AMX). They compute in float32 and
    return what they were given. Products of matrices, so attention that is written with them, gain.
    """
    exact = _SlowOnesInFloat32() if device.type == "cpu" else nullcontext()
    with torch.autocast(device.type, torch.bfloat16), exact:
        yield


class _SlowOnesInFloat32(TorchFunctionMode):
    """Calls of what is slow in bfloat16 on a CPU compute in float32."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        slow = func in _ATTENTION or (func in _CONVOLUTIONS and _groups(args, kwargs) > 1)
        if not slow:
            return func(*args, **kwargs)
        first = args[0] if args else kwargs["input" if func in _CONVOLUTIONS else "query"]
        same: dict[int, Tensor] = {}  # attention of tokens to each other projects them once

        def exact(value: Any) -> Any:
            if not (isinstance(value, Tensor) and value.dtype == torch.bfloat16):
                return value
            if id(value) not in same:
                same[id(value)] = value.float()
            return same[id(value)]

        with torch.autocast("cpu", enabled=False):
            found = func(*map(exact, args), **{name: exact(v) for name, v in kwargs.items()})
        if isinstance(found, tuple):  # attention with its weights
            return found[0].to(first.dtype), *found[1:]
        return found.to(first.dtype)


_ATTENTION = (F.scaled_dot_product_attention, F.multi_head_attention_forward)
_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)


def _groups(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Of a call of a convolution."""
    return int(args[6] if len(args) > 6 else kwargs.get("groups", 1))


@contextmanager
def repeatable(device: torch.device, seed: int) -> Iterator[None]:
    """Networks that draw random numbers get those of ``seed``, and cuDNN adds up in one order.

    Of the GPUs only ``device`` is touched: asking for the random state of others would start CUDA.
    """
    gpus = [device] if device.type == "cuda" else []
    cudnn = torch.backends.cudnn
    with (
        torch.random.fork_rng(gpus),
        _set(cudnn, "deterministic", True),
        _set(cudnn, "benchmark", False),
    ):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def scan_arithmetic(device: torch.device, *, precision: str, seed: int) -> Iterator[None]:
    """Repeatable from ``seed`` on, as networks may draw of their own, and with all digits where
    ``precision`` is float32 (:attr:`rnp_core.config.ScanConfig.precision`)."""
    exact = full_float32() if precision == "float32" else nullcontext()
    with repeatable(device, seed), exact:
        yield


@contextmanager
def _set(owner: object, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
