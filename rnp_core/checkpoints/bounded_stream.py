"""A window on a file that gives no more bytes than it holds, whatever length is asked for."""

from __future__ import annotations

from typing import BinaryIO

from rnp_core.checkpoints.limits import ReadLimits
from rnp_core.errors import CheckpointError


class BoundedStream:
    """The part of ``file`` from its position up to ``end``, at most ``limits.pickle_bytes`` of it.

    A declared length that is longer than the rest of the file then allocates nothing.
    """

    def __init__(self, file: BinaryIO, end: int, limits: ReadLimits) -> None:
        self._file = file
        self._position = file.tell()
        self._end = end
        self._last = min(end, self._position + limits.pickle_bytes)
        self._string_bytes = limits.string_bytes

    def tell(self) -> int:
        """Position in the underlying file."""
        return self._position

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; fewer at the end.

        Raises:
            CheckpointError: when the string or the whole stream is longer than the limits allow.
        """
        wanted = min(size, self._end - self._position)
        if wanted > self._string_bytes:
            raise CheckpointError(
                f"expected strings of at most {self._string_bytes} bytes in a pickle, got {wanted}"
            )
        self._check(wanted)
        return self._advance(self._file.read(max(wanted, 0)))

    def readline(self) -> bytes:
        """Bytes up to and with the next newline."""
        wanted = min(self._end - self._position, self._string_bytes)
        self._check(1)
        return self._advance(self._file.readline(max(wanted, 0)))

    def _check(self, wanted: int) -> None:
        if self._position + wanted > self._last and self._last < self._end:
            raise CheckpointError("the pickle stream is longer than the limit pickle_bytes")

    def _advance(self, data: bytes) -> bytes:
        self._position += len(data)
        return data
