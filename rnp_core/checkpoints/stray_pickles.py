"""Pickles in an archive that the reader does not use, or cannot: looked at for evidence only."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import BinaryIO

from rnp_core.checkpoints.limits import MIB, ReadLimits
from rnp_core.checkpoints.pickle_machine import PickleMachine
from rnp_core.checkpoints.source import Source
from rnp_core.checkpoints.trace import Trace
from rnp_core.checkpoints.zip_directory import open_directory
from rnp_core.errors import CheckpointError

_SUFFIXES = (".pkl", ".pickle", ".pt", ".pth", ".bin")
_MOST_STREAMS = 16
_MOST_BYTES = 8 * MIB
_LOCAL_HEADER = 30  # bytes of a local file header without name and extra field


def trace_archive(source: Source, limits: ReadLimits, trace: Trace) -> None:
    """Add the names in every small pickle of an archive to ``trace``, however damaged it is.

    Checksums and local names are ignored: some programs do the same. Nothing is raised.
    """
    try:
        entries = open_directory(source.file, limits).infolist()
    except Exception:  # zipfile raises many kinds on damaged input
        return
    pickles = [entry for entry in entries if entry.filename.lower().endswith(_SUFFIXES)]
    for entry in pickles[:_MOST_STREAMS]:
        trace_streams(io.BytesIO(_raw_content(source, entry)), limits, trace)


def trace_streams(stream: BinaryIO, limits: ReadLimits, trace: Trace) -> None:
    """Add the names in consecutive pickles of ``stream`` to ``trace``. Nothing is raised."""
    for _ in range(_MOST_STREAMS):
        machine = PickleMachine(
            stream, limits=limits, trace=trace, persistent_load=lambda saved: None
        )
        try:
            machine.load()
        except CheckpointError:
            return


def _raw_content(source: Source, entry: zipfile.ZipInfo) -> bytes:
    """Up to 8 MiB of a member, unpacked without any check."""
    try:
        source.file.seek(entry.header_offset)
        header = source.file.read(_LOCAL_HEADER)
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        source.file.seek(name_length + extra_length, 1)
        packed = source.file.read(min(entry.compress_size, _MOST_BYTES))
        if entry.compress_type == zipfile.ZIP_STORED:
            return packed
        return zlib.decompressobj(-15).decompress(packed, _MOST_BYTES)
    except (OSError, ValueError, struct.error, zlib.error):
        return b""
