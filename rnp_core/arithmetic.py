"""How PyTorch computes while something runs; every setting is put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
def _set(owner: object, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
