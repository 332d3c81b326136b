"""Many image files to one array, with broken ones left out and counted."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rnp_core.errors import DataError
from rnp_core.images.budget import Budget
from rnp_core.images.decode import NOTES, Pixels, decode_image
from rnp_core.images.listing import ImageFile, ImageSource
from rnp_core.images.result import BrokenFile, SkippedFile

BROKEN_SHARE = 0.10  # of the files tried; above it the whole source is refused
_NAMED = 5  # files named in a warning


@dataclass(frozen=True, eq=False)
class Collected:
    """Decoded images: ``(N, C, H, W)`` float32, and the indices of the files they came from."""

    images: Tensor
    kept: list[int]
    skipped: list[SkippedFile]
    warnings: list[str]


def collect_images(
    source: ImageSource,
    files: Sequence[ImageFile],
    *,
    channels: int | None,
    size: int | None,
    budget: Budget,
) -> Collected:
    """Read and decode ``files``, at least one, in order.

    Raises:
        DataError: when more than a tenth is broken, sizes differ and ``size`` is None, or a limit
            is passed.
    """
    pixels: list[Pixels] = []
    kept: list[int] = []
    skipped: list[SkippedFile] = []
    notes: Counter[str] = Counter()
    for index, file in enumerate(files):
        budget.check_time()
        try:
            data = source.read(file)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remarks on damaged metadata
                decoded = decode_image(data, channels=channels, size=size, budget=budget)
        except BrokenFile as error:
            skipped.append(SkippedFile(file.name, str(error)))
            if len(skipped) > BROKEN_SHARE * len(files):
                raise _too_broken(skipped, index + 1, len(files)) from error
            continue
        if not pixels:
            height, width = decoded.pixels.shape[:2]
            budget.check_result(len(files), height, width, channels or 3)
        elif decoded.pixels.shape[:2] != pixels[0].shape[:2]:
            raise _mixed_sizes(files[kept[0]], pixels[0], file, decoded.pixels)
        pixels.append(decoded.pixels)
        kept.append(index)
        notes.update(decoded.notes)
    richest = max(array.shape[2] for array in pixels)
    for position, array in enumerate(pixels):
        if array.shape[2] != richest:
            notes["colour"] += 1
            pixels[position] = np.repeat(array, richest, axis=2)
    return Collected(to_images(pixels), kept, skipped, describe_notes(notes, len(pixels)))


def to_images(arrays: Sequence[Pixels] | Pixels) -> Tensor:
    """Arrays ``(H, W, C)`` uint8 of one shape as ``(N, C, H, W)`` float32 in [0, 1]."""
    height, width, channels = arrays[0].shape
    images = np.empty((len(arrays), channels, height, width), np.float32)
    for index, array in enumerate(arrays):
        planes = np.ascontiguousarray(array.transpose(2, 0, 1))
        np.divide(planes, np.float32(255), out=images[index], dtype=np.float32)
    return torch.from_numpy(images)


def describe_notes(notes: Counter[str], count: int) -> list[str]:
    """One sentence for each kind of change, in a fixed order."""
    return [f"{notes[key]} of {count} images {text}" for key, text in NOTES.items() if notes[key]]


def describe_skipped(skipped: Sequence[SkippedFile], what: str) -> list[str]:
    """One sentence with the first few files and their reasons, or none."""
    return [f"{what} ({len(skipped)}): {_listed(skipped)}"] if skipped else []


def _listed(skipped: Sequence[SkippedFile]) -> str:
    named = "; ".join(f"{file.name}: {file.reason}" for file in skipped[:_NAMED])
    return named + (f"; and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else "")


def _too_broken(skipped: Sequence[SkippedFile], tried: int, count: int) -> DataError:
    return DataError(
        f"expected at most {BROKEN_SHARE:.0%} broken images, got {len(skipped)} among the first "
        f"{tried} of {count}: {_listed(skipped)}"
    )


def _mixed_sizes(first: ImageFile, one: Pixels, second: ImageFile, other: Pixels) -> DataError:
    return DataError(
        f"expected images of one size, got {one.shape[1]}x{one.shape[0]} ({first.name}) and "
        f"{other.shape[1]}x{other.shape[0]} ({second.name}); set size to resize them"
    )
