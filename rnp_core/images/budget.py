"""What one reading has used up of its limits."""

from __future__ import annotations

import time

from rnp_core.errors import DataError
from rnp_core.images.limits import MIB, ImageLimits


class Budget:
    """Counts bytes, pixels and time of one reading and stops it at the limits.

    Every method raises :class:`rnp_core.errors.DataError` when its limit is passed.
    """

    def __init__(self, limits: ImageLimits) -> None:
        self.limits = limits
        self._bytes = 0
        self._pixels = 0
        self._end = time.monotonic() + limits.seconds

    def spend_bytes(self, count: int) -> None:
        """Count unpacked bytes."""
        self._bytes += count
        if self._bytes > self.limits.total_bytes:
            raise DataError(
                f"the files unpack to more than the limit total_bytes, "
                f"{self.limits.total_bytes / MIB:.0f} MiB; give fewer images or raise the limit"
            )

    def spend_pixels(self, count: int) -> None:
        """Count pixels that are about to be decoded."""
        self._pixels += count
        if self._pixels > self.limits.total_pixels:
            raise DataError(
                f"the images have more pixels together than the limit total_pixels, "
                f"{self.limits.total_pixels}; give fewer images or raise the limit"
            )

    def check_time(self) -> None:
        """Compare the time since the start."""
        if time.monotonic() > self._end:
            raise DataError(
                f"reading the images took longer than the limit of {self.limits.seconds:g} seconds"
            )

    def check_result(self, count: int, height: int, width: int, channels: int) -> None:
        """Compare the size of the float32 result before it is built."""
        size = 4 * count * height * width * channels
        if size > self.limits.result_bytes:
            raise DataError(
                f"{count} images of {width}x{height} need {size / MIB:.0f} MiB, expected at most "
                f"{self.limits.result_bytes / MIB:.0f} (limit result_bytes); "
                "give fewer or smaller images, or set max_images or size"
            )
