"""Opening a file that nobody trusts: once, without waiting, and only when it is a plain file."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rnp_core.checkpoints.limits import MIB, ReadLimits
from rnp_core.errors import CheckpointError

_HEAD_BYTES = 512


@dataclass(frozen=True, eq=False)
class Source:
    """An open checkpoint file. All readers share the handle, so that they see the same bytes.

    Attributes:
        path: where it was opened.
        file: the handle, seekable.
        size: in bytes, when it was opened.
        sha256: hexadecimal digest of the whole file.
        head: its first 512 bytes.
    """

    path: Path
    file: BinaryIO
    size: int
    sha256: str
    head: bytes


@contextmanager
def open_source(path: Path, limits: ReadLimits) -> Iterator[Source]:
    """Open ``path`` for reading and hash it. A symbolic link that a user names is followed.

    Raises:
        CheckpointError: when it is missing, not a plain file (FIFO, device, socket, folder), empty
            or larger than ``limits.file_bytes``.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    flags |= getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise CheckpointError(f"cannot open {path.name!r}: {reason}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(f"expected a file or folder, got {_kind(status.st_mode)}")
        if status.st_size == 0:
            raise CheckpointError(f"{path.name!r} is empty")
        if status.st_size > limits.file_bytes:
            raise CheckpointError(
                f"expected at most {limits.file_bytes} bytes, got {status.st_size}; "
                "raise the limit checkpoint.file_bytes to read a file of this size"
            )
        digest = hashlib.sha256()
        head = file.read(_HEAD_BYTES)
        digest.update(head)
        while block := file.read(MIB):
            digest.update(block)
        file.seek(0)
        yield Source(path, file, status.st_size, digest.hexdigest(), head)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFIFO: "a FIFO",
        stat.S_IFCHR: "a character device",
        stat.S_IFBLK: "a block device",
        stat.S_IFSOCK: "a socket",
        stat.S_IFDIR: "a folder",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
