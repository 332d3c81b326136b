"""Inputs and results of workers that do not share the engine's disk, by content.

A file or folder is packed into one archive of bytes. Dask moves it to the worker that needs it and
keeps one copy a worker while any job needs it, so the clean images of a whole fleet travel once.
"""

from __future__ import annotations

import dataclasses
import io
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnp_core.errors import JobError
from rnp_core.jobs.attempt import Order

INPUT_FIELDS = ("checkpoint", "clean", "suspects")
"""Fields of a request that name files."""


def pack(path: Path) -> bytes:
    """A file, or a folder with everything in it, as the bytes of a stored zip.

    Symbolic links are left out.

    Raises:
        JobError: when it cannot be read.
    """
    if not path.exists():
        raise JobError(f"cannot read {path}: there is no such file or folder")
    buffer = io.BytesIO()
    try:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for file in [path] if path.is_file() else sorted(path.rglob("*")):
                if file.is_file() and (file == path or not file.is_symlink()):
                    archive.write(file, file.relative_to(path.parent))
    except OSError as error:
        raise JobError(f"cannot read {path}: {error.strerror}") from error
    return buffer.getvalue()


def unpack(data: bytes, folder: Path) -> Path:
    """Unpack what :func:`pack` made into the existing ``folder``; returns the file or folder.

    Raises:
        JobError: when it is no such archive.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                if Path(name).is_absolute() or ".." in Path(name).parts:
                    raise JobError(f"expected paths inside the folder, got {name!r}")
            archive.extractall(folder)
            tops = {Path(name).parts[0] for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise JobError(f"cannot unpack into {folder}: {error}") from error
    if len(tops) != 1:
        raise JobError(f"expected one file or folder in the archive, got {len(tops)}")
    return folder / tops.pop()


@contextmanager
def place_inputs(order: Order, blobs: dict[str, bytes], cache: Path) -> Iterator[Order]:
    """The order with paths of this machine; unchanged when it shares the disk."""
    if not order.inputs:
        yield order
        return
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        request = {**order.request, "out": str(Path(folder) / "run")}
        for number, (name, sha256) in enumerate(order.inputs.items()):
            target = Path(folder) / f"input-{number}"
            target.mkdir()
            request[name] = str(unpack(blobs[sha256], target))
        stages = cache / "stages" / order.job
        yield dataclasses.replace(order, request=request, stages=str(stages))
