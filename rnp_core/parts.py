"""Work on many images in parts that fit into memory.

For work whose result does not hang on how it is parted: rows that are independent of each other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from rnp_core.errors import is_out_of_memory
from rnp_core.model import SuspectModel

LEAST_BATCH = 16
"""Images in the smallest batch whose statistics still say something."""

_PIXELS = 32 * 224 * 224
"""Pixels of a batch; with more, a convolution on a CPU gets no faster."""

_GPU_IMAGES = 2048
"""Images of a part on a GPU at most, however many its memory holds."""

_GPU_BYTES = 8192
"""Memory that a pixel takes on its way forward and back. ResNet-18 on images of 32x32 pixels keeps
about 5,000 bytes, ResNet-50 on 224x224 about 2,200."""

T = TypeVar("T")
_log = logging.getLogger(__name__)


def fitting_batch(model: SuspectModel, usual: int) -> int:
    """``usual`` images, or fewer large ones; the same on every machine."""
    _, height, width = model.input_shape
    return max(1, min(usual, _PIXELS // (height * width)))


def images_at_once(model: SuspectModel, usual: int) -> int:
    """How many images to begin with where that does not change the result: on a CPU a
    :func:`fitting_batch`; on a GPU as many as its memory holds, what PyTorch keeps for reuse
    included."""
    if model.device.type != "cuda":
        return fitting_batch(model, usual)
    _, height, width = model.input_shape
    free, _ = torch.cuda.mem_get_info(model.device)
    free += torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    return max(1, min(_GPU_IMAGES, free // (_GPU_BYTES * height * width)))


class Parts:
    """Runs work in parts of at most ``size``, which halves for good where memory runs out."""

    def __init__(self, size: int) -> None:
        self.size = max(1, size)

    def run(self, work: Callable[[slice], T], count: int) -> list[T]:
        """Results of ``work`` on consecutive parts of ``range(count)``, in order.

        Args:
            work: must leave nothing behind when it fails, as it is called again.
        """
        results: list[T] = []
        start = 0
        while start < count or not results:
            rest = count - start
            result, fitting = retried_smaller(
                lambda size, start=start: work(slice(start, start + size)),  # type: ignore[misc]
                min(self.size, rest),
            )
            if fitting < min(self.size, rest):
                self.size = fitting
            results.append(result)
            start += fitting
        return results


def retried_batches(work: Callable[[int], T], size: int) -> tuple[T, int]:
    """:func:`retried_smaller` for batches whose statistics count: down to :data:`LEAST_BATCH`."""
    return retried_smaller(work, size, least=min(size, LEAST_BATCH))


def retried_smaller(work: Callable[[int], T], size: int, *, least: int = 1) -> tuple[T, int]:
    """The result of ``work(size)``, and the size that it took: halved while memory runs out.

    Raises:
        Exception: what ``work`` raises; for lack of memory, once ``least`` is too much.
    """
    while True:
        try:
            return work(size), size
        except Exception as error:
            if size <= least or not is_out_of_memory(error):
                raise
        # only here have the tensors of the failed attempt lost their last reference
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _log.warning("out of memory with %d at once, trying again with half", size)
        size = max(least, size // 2)
