"""What reading images gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from rnp_core.data import DefenseSet, SuspectSet

ImageSet = TypeVar("ImageSet", DefenseSet, SuspectSet)


@dataclass(frozen=True)
class SkippedFile:
    """A file that was left out: its path inside the source, and why in a few words."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class ReadImages(Generic[ImageSet]):
    """Images as read, with everything that was changed or left out on the way.

    Attributes:
        images: the set.
        warnings: one sentence each, for people: files left out, conversions, gaps in the classes.
        skipped: every file left out, broken or not an image, in the order met.
        sha256: :func:`rnp_core.images.content_sha256` of the set.
    """

    images: ImageSet
    warnings: tuple[str, ...]
    skipped: tuple[SkippedFile, ...]
    sha256: str


class BrokenFile(Exception):
    """One file cannot be used; the message is the reason. Never leaves this package."""
