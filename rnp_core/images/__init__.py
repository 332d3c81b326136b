"""Reading clean and suspect images from untrusted folders, zip archives and npz files."""

from rnp_core.images.limits import ImageLimits
from rnp_core.images.read import read_defense_set, read_suspects
from rnp_core.images.result import ReadImages, SkippedFile
from rnp_core.images.summary import class_counts, content_sha256

__all__ = [
    "ImageLimits",
    "ReadImages",
    "SkippedFile",
    "class_counts",
    "content_sha256",
    "read_defense_set",
    "read_suspects",
]
