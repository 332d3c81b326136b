"""Opening a zip archive without letting its directory fill the memory."""

from __future__ import annotations

import zipfile
from typing import BinaryIO

from rnp_core.checkpoints.limits import ReadLimits
from rnp_core.errors import CheckpointError

_ENTRY = b"PK\x01\x02"
_ENTRY_BYTES = 400  # per member, at most: 46, the name, the extra field and the comment
_BLOCK = 1 << 16


def open_directory(file: BinaryIO, limits: ReadLimits) -> zipfile.ZipFile:
    """The archive in ``file``; zipfile parses the whole directory here and knows no bound.

    Raises:
        CheckpointError: when it lists more than ``limits.archive_members`` members.
        Exception: of many kinds, from zipfile, when it is damaged.
    """
    file.seek(0)
    bounded = _Bounded(file, limits.archive_members)
    archive = zipfile.ZipFile(bounded)  # type: ignore[arg-type]
    bounded.most = None
    return archive


class _Bounded:
    """``file``, whose reads are looked at for directory entries until ``most`` is None."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self.most: int | None = most
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable

    def read(self, size: int = -1) -> bytes:
        if self.most is not None and size > self.most * _ENTRY_BYTES + _BLOCK:
            raise _too_many(self.most)
        data = self._file.read(size)
        if self.most is not None and data.count(_ENTRY) > self.most:
            raise _too_many(self.most)
        return data


def _too_many(most: int) -> CheckpointError:
    return CheckpointError(f"expected at most {most} archive members, got more")
