"""Bounds on what reading images may cost."""

from __future__ import annotations

from dataclasses import dataclass

from rnp_core.errors import ConfigError

MIB = 1 << 20


@dataclass(frozen=True)
class ImageLimits:
    """Upper bounds on reading one folder, zip archive or npz file.

    An image file that passes ``file_bytes``, ``compression_ratio``, ``image_pixels`` or
    ``jpeg_scans`` is skipped with its reason, a folder below ``folder_depth`` too; for every other
    bound, and for an array of an npz file, the whole source is refused. Sizes are measured while
    reading, never taken from a header alone.

    Attributes:
        archive_bytes: size of a zip or npz file, in bytes.
        max_files: files and folders of a folder or archive.
        folder_depth: levels of folders that are searched.
        file_bytes: size of one image file, unpacked, in bytes.
        total_bytes: sum of the sizes of all files read, unpacked, in bytes.
        compression_ratio: unpacked over packed size of an archive member, once 1 MiB is unpacked.
        image_pixels: width x height of one image, compared before it is decoded; Pillow itself
            refuses images above 178,956,970 pixels, so that more has no effect.
        total_pixels: sum of width x height of all images decoded.
        jpeg_scans: passes over the image in a (progressive) JPEG file; real files have about ten.
        array_bytes: size of one array of an npz file, in bytes.
        result_bytes: size of the float32 images handed back, in bytes.
        seconds: time for all files, looked at between two files.
    """

    archive_bytes: int = 4096 * MIB
    max_files: int = 200_000
    folder_depth: int = 8
    file_bytes: int = 32 * MIB
    total_bytes: int = 4096 * MIB
    compression_ratio: float = 200.0
    image_pixels: int = 25_000_000
    total_pixels: int = 10_000_000_000
    jpeg_scans: int = 100
    array_bytes: int = 1024 * MIB
    result_bytes: int = 4096 * MIB
    seconds: float = 600.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ConfigError(f"expected a positive image limit {name}, got {value}")
