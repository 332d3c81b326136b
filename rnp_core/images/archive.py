"""A zip archive from an untrusted source. Members are read in memory; nothing is extracted."""

from __future__ import annotations

import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from rnp_core.checkpoints.records import printable
from rnp_core.errors import DataError
from rnp_core.images.budget import Budget
from rnp_core.images.limits import MIB
from rnp_core.images.result import BrokenFile

_BLOCK = 1 << 16
_LOCAL_HEADER = 30  # bytes of a local file header without name and extra field
_DIRECTORY_ENTRY = b"PK\x01\x02"
_DIRECTORY_BYTES = 400  # per entry, at most: 46, the name, times and sizes
# zipfile unpacks only these in bounded steps.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class SafeZip:
    """An open archive whose directory was checked.

    Attributes:
        members: regular files by path (``/`` between folders), in the order of the directory.
        folders: paths of folders that have an entry of their own.
        links: paths of symbolic links, which are never followed.
    """

    def __init__(self, file: _MeteredFile, archive: zipfile.ZipFile, budget: Budget) -> None:
        self._file = file
        self._archive = archive
        self._budget = budget
        self.members: dict[str, zipfile.ZipInfo] = {}
        self.folders: list[str] = []
        self.links: list[str] = []
        for info in archive.infolist():
            name = info.filename.replace("\\", "/")
            if info.is_dir() or name.endswith("/"):
                self.folders.append(name.strip("/"))
            elif stat.S_ISLNK(info.external_attr >> 16):
                self.links.append(name)
            else:
                self.members[name] = info

    @contextmanager
    def stream(self, name: str) -> Iterator[MemberStream]:
        """The unpacked content of one member.

        Raises:
            BrokenFile: when it is damaged, or unpacks to ``compression_ratio`` times its size.
            DataError: when ``total_bytes`` is passed.
        """
        try:
            with self._archive.open(self.members[name]) as opened:
                yield MemberStream(opened, self._file, self._budget)
        except (BrokenFile, DataError):
            raise
        except Exception as error:  # zipfile, zlib and struct raise many kinds on damaged input
            text = printable(str(error)[:100])
            raise BrokenFile(f"damaged archive member: {text}") from error

    def read(self, name: str) -> bytes:
        """The whole member, at most ``file_bytes`` long; raises as :meth:`stream` does."""
        limit = self._budget.limits.file_bytes
        blocks: list[bytes] = []
        length = 0
        with self.stream(name) as stream:
            while block := stream.read(_BLOCK):
                length += len(block)
                if length > limit:
                    raise BrokenFile(f"larger than the limit file_bytes, {limit} bytes")
                blocks.append(block)
        return b"".join(blocks)


class MemberStream:
    """Bytes of one member, counted as they are unpacked."""

    def __init__(self, opened: IO[bytes], file: _MeteredFile, budget: Budget):
        self._opened = opened
        self._file = file
        self._budget = budget
        self._unpacked = 0
        self._start = file.bytes_read

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; empty at the end."""
        block = self._opened.read(size)
        self._unpacked += len(block)
        self._budget.spend_bytes(len(block))
        packed = max(self._file.bytes_read - self._start, 1)
        if self._unpacked > MIB and self._unpacked / packed > self._budget.limits.compression_ratio:
            raise BrokenFile(
                f"a decompression bomb: unpacks to more than "
                f"{self._budget.limits.compression_ratio:g} times its size"
            )
        return block


@contextmanager
def open_zip(path: Path, budget: Budget) -> Iterator[SafeZip]:
    """Open an archive after checking its directory; no member is unpacked yet.

    Raises:
        DataError: for a damaged, encrypted, ambiguous (duplicate or overlapping members) or huge
            archive, for one with paths that lead out of it, and for unusual compression methods.
    """
    limits = budget.limits
    try:
        size = path.stat().st_size
        if size > limits.archive_bytes:
            raise DataError(
                f"expected an archive of at most {limits.archive_bytes / MIB:.0f} MiB "
                f"(limit archive_bytes), got {size / MIB:.0f}"
            )
        with path.open("rb") as opened:
            file = _MeteredFile(opened, limits.max_files)
            archive = _open(file)
            entries = archive.infolist()
            _check_entries(entries)
            _refuse_overlaps(entries, archive.start_dir)
            file.opening = False
            yield SafeZip(file, archive, budget)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


class _MeteredFile:
    """The archive file; counts what is read, and bounds the directory before it is parsed."""

    def __init__(self, file: BinaryIO, max_files: int) -> None:
        self._file = file
        self._max_files = max_files
        self.opening = True
        self.bytes_read = 0
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable

    def read(self, size: int = -1) -> bytes:
        if self.opening and size > self._max_files * _DIRECTORY_BYTES + _BLOCK:
            raise _too_many(self._max_files)
        data = self._file.read(size)
        self.bytes_read += len(data)
        if self.opening and data.count(_DIRECTORY_ENTRY) > self._max_files:
            raise _too_many(self._max_files)
        return data


def _too_many(limit: int) -> DataError:
    return DataError(f"expected at most {limit} files in the archive (limit max_files), got more")


def _open(file: _MeteredFile) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)  # type: ignore[arg-type]
    except DataError:
        raise
    except Exception as error:  # many kinds on damaged input
        raise DataError(f"damaged archive: {printable(str(error)[:200])}") from error


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    for entry in entries:
        raw = entry.orig_filename
        name = raw.replace("\\", "/")
        shown = printable(raw[:100])
        inside = not name.startswith("/") and ".." not in name.split("/") and name[1:2] != ":"
        if not inside or "\x00" in raw:
            raise DataError(f"the archive is refused: its member {shown!r} points outside of it")
        if entry.flag_bits & 0x1:
            raise DataError(f"the archive is encrypted (member {shown!r}); give it unencrypted")
        if entry.compress_type not in _METHODS:
            raise DataError(
                f"expected stored or deflated archive members, got method {entry.compress_type} "
                f"for {shown!r}; pack it anew"
            )
    counts = Counter(entry.filename.replace("\\", "/") for entry in entries)
    repeated = [printable(name[:100]) for name, count in counts.items() if count > 1]
    if repeated:
        raise DataError(
            f"the archive is refused: it holds several members of one name ({repeated[0]!r}), "
            "and programs differ in which one they read"
        )


def _refuse_overlaps(entries: list[zipfile.ZipInfo], directory_start: int) -> None:
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    ends = [*(entry.header_offset for entry in ordered), directory_start][1:]
    for entry, end in zip(ordered, ends, strict=True):
        if entry.header_offset + _LOCAL_HEADER + entry.compress_size > end:
            raise DataError(
                f"the archive is refused: its members overlap at "
                f"{printable(entry.orig_filename[:100])!r}, as in archives that unpack endlessly"
            )
