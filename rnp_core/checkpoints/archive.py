"""The zip container of ``torch.save``: its members, checked before one of them is used."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from rnp_core.checkpoints.limits import MIB, ReadLimits
from rnp_core.checkpoints.records import printable
from rnp_core.checkpoints.result import FileFinding
from rnp_core.checkpoints.source import Source
from rnp_core.checkpoints.zip_directory import open_directory
from rnp_core.errors import CheckpointError

_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
_LOCAL_HEADER = 30  # bytes of a local file header without name and extra field
_DESCRIPTOR = 24  # bytes of the longest data descriptor, which may follow a member
_EXPECTED = frozenset(
    (
        "data.pkl",
        "version",
        "byteorder",
        ".format_version",
        ".storage_alignment",
        ".data/serialization_id",
    )
)
_ARCHIVE_ATLAS = ("AML.T0011.000",)
_PARSER_CONFUSION = ("CWE-436",)


@dataclass(frozen=True, eq=False)
class Archive:
    """An open zip archive whose directory is consistent.

    Attributes:
        file: the open archive.
        members: entries by name.
        root: the folder that all members of a ``torch.save`` file share, with a slash, or ``""``.
        findings: what is odd about it.
    """

    file: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]
    root: str
    findings: tuple[FileFinding, ...]

    def read(self, name: str, limit: int) -> bytes:
        """The content of one member, with its checksum verified.

        Raises:
            CheckpointError: when it is missing, longer than ``limit`` bytes or damaged.
        """
        info = self.members.get(name)
        if info is None:
            raise CheckpointError(f"the archive has no member {printable(name[:100])!r}")
        if info.file_size > limit:
            raise CheckpointError(
                f"expected at most {limit} bytes in {printable(name[:100])!r}, got {info.file_size}"
            )
        with _damage_at(name), self.file.open(info) as stream:
            data = stream.read(info.file_size)
            if len(data) != info.file_size or stream.read(1):
                raise CheckpointError(f"{printable(name[:100])!r} is not as long as it declares")
        return data


def open_archive(source: Source, limits: ReadLimits) -> Archive:
    """The archive of ``source``, with its directory checked; no member is unpacked yet.

    Raises:
        CheckpointError: for a damaged, encrypted, ambiguous (duplicate or overlapping members) or
            exploding archive.
    """
    with _damage_at(""):
        file = open_directory(source.file, limits)
    entries = file.infolist()
    _refuse_duplicates(entries)
    for entry in entries:
        _check_entry(entry, limits)
    _check_total(entries, source, limits)
    between = _bytes_between(source, entries, file.start_dir)
    root = _root(entries)
    findings = (
        *_path_findings(entries),
        *_hidden_findings(entries, root),
        *_slack(source, file, between),
    )
    return Archive(file, {entry.filename: entry for entry in entries}, root, findings)


def verify_checksums(archive: Archive) -> None:
    """Unpack every member in small pieces and compare length and CRC.

    Raises:
        CheckpointError: for the first damaged member.
    """
    for name, info in archive.members.items():
        with _damage_at(name), archive.file.open(info) as stream:
            length = 0
            while block := stream.read(MIB):
                length += len(block)
        if length != info.file_size:
            raise CheckpointError(f"{printable(name[:100])!r} is not as long as it declares")


@contextmanager
def _damage_at(name: str) -> Iterator[None]:
    """Turns what zipfile raises on damaged input (many kinds) into one clear error.

    Args:
        name: the member that is read, empty for the directory.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        text = printable(str(error)[:200])
        where = f" at {printable(name[:100])!r}" if name else ", perhaps cut off"
        raise CheckpointError(f"damaged archive{where}: {text}") from error


def _refuse_duplicates(entries: list[zipfile.ZipInfo]) -> None:
    counts = Counter(entry.filename.lower() for entry in entries)
    repeated = [printable(name[:100]) for name, count in counts.items() if count > 1]
    if repeated:
        raise CheckpointError(
            f"the archive holds several members of one name ({', '.join(repeated[:3])}); "
            "programs differ in which one they read, so the file is refused"
        )


def _check_entry(entry: zipfile.ZipInfo, limits: ReadLimits) -> None:
    name = printable(entry.filename[:100])
    if not name:
        raise CheckpointError("the archive holds a member without a name")
    if entry.flag_bits & 0x1:
        raise CheckpointError(f"{name!r} is encrypted; give an unencrypted checkpoint")
    if entry.compress_type not in _METHODS:
        raise CheckpointError(f"{name!r} uses compression method {entry.compress_type}")
    if entry.compress_type == zipfile.ZIP_STORED and entry.file_size != entry.compress_size:
        raise CheckpointError(f"{name!r} is stored, but its packed and unpacked sizes differ")
    packed = max(entry.compress_size, 1)
    if entry.file_size > MIB and entry.file_size / packed > limits.compression_ratio:
        raise CheckpointError(
            f"{name!r} unpacks to {entry.file_size / packed:.0f} times its size, expected at most "
            f"{limits.compression_ratio:g} times: a decompression bomb"
        )


def _check_total(entries: list[zipfile.ZipInfo], source: Source, limits: ReadLimits) -> None:
    """Refuse many members that are each just below the ratio; torch.save packs nothing."""
    total = sum(entry.file_size for entry in entries)
    if total > max(64 * MIB, source.size * limits.expansion):
        raise CheckpointError(
            f"the archive of {source.size} bytes unpacks to {total} bytes (see the limit "
            "expansion): a decompression bomb"
        )


def _bytes_between(source: Source, entries: list[zipfile.ZipInfo], directory_start: int) -> int:
    """Bytes between members that belong to none; a member without directory entry lies there.

    Raises:
        CheckpointError: when members overlap, or one begins outside the file.
    """
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    ends = [entry.header_offset for entry in ordered[1:]] + [directory_start]
    between = 0
    for entry, end in zip(ordered, ends, strict=True):
        if not 0 <= entry.header_offset < source.size:
            raise CheckpointError(
                f"archive member {printable(entry.filename[:100])!r} begins at byte "
                f"{entry.header_offset} of a file of {source.size}: the archive is damaged"
            )
        source.file.seek(entry.header_offset)
        header = source.file.read(_LOCAL_HEADER)
        lengths = sum(struct.unpack("<HH", header[26:])) if len(header) == _LOCAL_HEADER else 0
        free = end - entry.header_offset - _LOCAL_HEADER - lengths - entry.compress_size
        if free < 0:
            raise CheckpointError(
                f"archive members overlap at {printable(entry.filename[:100])!r}; "
                "such archives hide content or unpack without bound"
            )
        between += free if free > _DESCRIPTOR else 0
    return between


def _root(entries: list[zipfile.ZipInfo]) -> str:
    pickles = [e.filename for e in entries if PurePosixPath(e.filename).name == "data.pkl"]
    outer = [name for name in pickles if name.count("/") <= 1]
    if len(outer) > 1:
        raise CheckpointError("the archive holds more than one data.pkl, so it is ambiguous")
    return outer[0][: -len("data.pkl")] if outer else ""


def _path_findings(entries: list[zipfile.ZipInfo]) -> list[FileFinding]:
    odd = [printable(entry.orig_filename[:200]) for entry in entries if _leaves(entry)]
    if not odd:
        return []
    return [
        FileFinding(
            "high",
            "archive-path",
            "the archive holds members that point outside of it",
            {"members": odd[:20], "count": len(odd)},
            _ARCHIVE_ATLAS,
            ("CWE-22",),
        )
    ]


def _leaves(entry: zipfile.ZipInfo) -> bool:
    """Whether unpacking the member with a careless program would leave the folder."""
    name = entry.orig_filename
    parts = name.replace("\\", "/").split("/")
    odd = name.startswith(("/", "\\")) or ".." in parts or ":" in name or "\x00" in name
    return odd or stat.S_ISLNK(entry.external_attr >> 16)


def _hidden_findings(entries: list[zipfile.ZipInfo], root: str) -> list[FileFinding]:
    hidden = [
        printable(entry.filename[:200])
        for entry in entries
        if not entry.is_dir() and not _is_expected(entry.filename, root)
    ]
    if not hidden:
        return []
    pickles = [name for name in hidden if name.endswith((".pkl", ".pickle", ".py", ".so"))]
    return [
        FileFinding(
            "high" if pickles else "medium",
            "hidden-member",
            "the archive holds members that torch.save does not write",
            {"members": hidden[:20], "count": len(hidden)},
            _ARCHIVE_ATLAS,
            _PARSER_CONFUSION,
        )
    ]


def _is_expected(name: str, root: str) -> bool:
    if not name.startswith(root):
        return False
    inner = name[len(root) :]
    folder, _, key = inner.partition("/")
    return inner in _EXPECTED or (folder == "data" and key.isdigit())


def _slack(source: Source, file: zipfile.ZipFile, between: int) -> list[FileFinding]:
    """Bytes of no member: the file may be something else at the same time, or hide a member."""
    first = min((info.header_offset for info in file.infolist()), default=0)
    if first == 0 and not file.comment and not between:
        return []
    return [
        FileFinding(
            "medium",
            "appended-data",
            "the archive has bytes that belong to no member; the file may be two formats at once",
            {
                "bytes_before": first,
                "bytes_between": between,
                "comment_bytes": len(file.comment),
                "size": source.size,
            },
            _ARCHIVE_ATLAS,
            _PARSER_CONFUSION,
        )
    ]
