"""Images that came inside a checkpoint: put where the ordinary image readers find them.

Nobody has checked such images, so they pass the same readers and limits as any others.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from rnp_core.checkpoints import OfferedImages
from rnp_core.data import SuspectSet
from rnp_core.errors import DataError
from rnp_core.images import ImageLimits, ReadImages, read_suspects
from rnp_core.report import Finding, ScanReport

_PREFERRED = ("clean_test", "bd_test")  # not trained on
_LARGEST_FILE = ImageLimits().file_bytes


def choose_clean(offered: Sequence[OfferedImages]) -> OfferedImages | None:
    """The labelled clean set that came with a checkpoint, test images before training images."""
    return _choose([s for s in offered if s.role == "clean" and s.labels is not None])


def choose_poisoned(offered: Sequence[OfferedImages]) -> OfferedImages | None:
    """The poisoned set that came with a checkpoint, test images before training images."""
    return _choose([s for s in offered if s.role == "poisoned"])


def _choose(sets: Sequence[OfferedImages]) -> OfferedImages | None:
    return max(sets, key=lambda s: s.name in _PREFERRED, default=None)


@contextmanager
def staged(offered: OfferedImages) -> Iterator[Path]:
    """The set as an npz file, or as a folder of class folders, for as long as the context lasts.

    Raises:
        DataError: when it cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="rnp-offered-") as temporary:
        place = Path(temporary)
        try:
            if offered.images is not None:
                place = place / "images.npz"
                if offered.labels is None:
                    np.savez(place, x=offered.images)
                else:
                    np.savez(place, x=offered.images, y=offered.labels)
            else:
                _copy_files(offered, place)
        except OSError as error:
            raise DataError(
                f"cannot copy the images that came with the checkpoint: {error.strerror}"
            ) from error
        yield place


def _copy_files(offered: OfferedImages, place: Path) -> None:
    """Files as LABEL/ROW.EXTENSION, so that their order is kept; too large ones are left out."""
    labels = [0] * len(offered) if offered.labels is None else offered.labels.tolist()
    for row, (path, label) in enumerate(zip(offered.paths, labels, strict=True)):
        if path.stat().st_size <= _LARGEST_FILE:
            target = place / f"{label:06}" / f"{row:06}{path.suffix[:8]}"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)


def read_offered_suspects(
    offered: OfferedImages, *, channels: int, size: int, limits: ImageLimits = ImageLimits()
) -> ReadImages[SuspectSet]:
    """The set as suspects, with its own labels (of a poisoned set: those the attack wants).

    The id of an image is ``NAME/ROW`` or ``NAME/FILE``.

    Raises:
        DataError: when they cannot be read.
    """
    with staged(offered) as place:
        found = read_suspects(place, channels=channels, size=size, limits=limits)
    if offered.images is not None:
        rows = [int(name) for name in found.images.ids]
        ids = [f"{offered.name}/{row}" for row in rows]
    else:
        rows = [int(Path(name).stem) for name in found.images.ids]
        ids = [f"{offered.name}/{offered.paths[row].name}" for row in rows]
    labels = None if offered.labels is None else torch.from_numpy(offered.labels[rows])
    return dataclasses.replace(found, images=SuspectSet(found.images.images, tuple(ids), labels))


def evaluate_offered(report: ScanReport, suspects: SuspectSet, name: str) -> Finding | None:
    """How often the poisoned images of a checkpoint get the label that their attack wants.

    Only reported, never used to decide: the set and its labels are claims of the file.
    """
    if suspects.labels is None or not report.samples:
        return None
    labels = suspects.labels.tolist()
    asked = [
        (row, label)
        for row, label in zip(report.samples, labels, strict=True)
        if row.predicted_repaired is not None
    ]
    before = sum(row.predicted == label for row, label in asked)
    after = sum(row.predicted_repaired == label for row, label in asked)
    count = len(asked)
    return Finding(
        "info",
        "data",
        f"Of {count} poisoned images that came with the checkpoint ({name}), {before / count:.0%} "
        f"get the label of the attack, {after / count:.0%} after the removal.",
        {"set": name, "count": count, "before": before / count, "after": after / count},
        "RNP006",
    )
