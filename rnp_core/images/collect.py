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
from rnp_core.images.decode import NOTES, Pixels, decode_image, resize_pixels
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
    broken_share: float = BROKEN_SHARE,
) -> Collected:
    """Read and decode ``files``, at least one, in order.

    Where sizes differ and ``size`` is None, the most common one is taken and a warning says so.

    Args:
        broken_share: of the files tried that may be broken; [0, 1].

    Raises:
        DataError: when more than ``broken_share`` or all are broken, or a limit is passed.
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
            if len(skipped) > broken_share * len(files) or len(skipped) == len(files):
                raise _too_broken(skipped, index + 1, len(files), broken_share) from error
            continue
        if not pixels:
            height, width = decoded.pixels.shape[:2]
            budget.check_result(len(files), height, width, channels or 3)
        pixels.append(decoded.pixels)
        kept.append(index)
        notes.update(decoded.notes)
    size_remarks = _share_size(pixels, budget, channels or 3)
    richest = max(array.shape[2] for array in pixels)
    for position, array in enumerate(pixels):
        if array.shape[2] != richest:
            notes["colour"] += 1
            pixels[position] = np.repeat(array, richest, axis=2)
    remarks = [*size_remarks, *describe_notes(notes, len(pixels))]
    return Collected(to_images(pixels), kept, skipped, remarks)


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


def describe_skipped(
    skipped: Sequence[SkippedFile], what: str, *, count: int | None = None
) -> list[str]:
    """One sentence with the first few files and their reasons, or none; ``count`` were tried."""
    among = "" if count is None else f" of {count}"
    return [f"{what} ({len(skipped)}{among}): {_listed(skipped)}"] if skipped else []


def _listed(skipped: Sequence[SkippedFile]) -> str:
    named = "; ".join(f"{file.name}: {file.reason}" for file in skipped[:_NAMED])
    return named + (f"; and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else "")


def _too_broken(
    skipped: Sequence[SkippedFile], tried: int, count: int, broken_share: float
) -> DataError:
    if len(skipped) == count:
        return DataError(
            f"expected images that can be read, all {count} are broken: {_listed(skipped)}"
        )
    return DataError(
        f"expected at most {broken_share:.0%} broken images, got {len(skipped)} among the first "
        f"{tried} of {count}: {_listed(skipped)}"
    )


def _share_size(pixels: list[Pixels], budget: Budget, channels: int) -> list[str]:
    """Bring all images to the most common size, the larger in a tie; says so where they differ."""
    sizes = Counter(array.shape[:2] for array in pixels)
    if len(sizes) == 1:
        return []
    height, width = max(sizes, key=lambda size: (sizes[size], size))
    budget.check_result(len(pixels), height, width, channels)
    stretched = 0
    for position, array in enumerate(pixels):
        pixels[position], notes = resize_pixels(array, height, width)
        stretched += "stretched" in notes
    others = len(pixels) - sizes[height, width]
    remark = (
        f"the images come in {len(sizes)} sizes; {others} of {len(pixels)} were resized to the "
        f"most common one, {width}x{height}"
    )
    return [remark + (f", and the aspect ratio of {stretched} changed" if stretched else "")]
