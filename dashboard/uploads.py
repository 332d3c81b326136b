"""Where uploaded files go, and which files of the server may be picked."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rnp_core import DataError

CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".ckpt", ".tar", ".bin", ".pkl")
IMAGE_SUFFIXES = (".zip", ".npz")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff")

_BLOCK = _MEGABYTE = 1 << 20
_MOST_LISTED = 2000
_MOST_SEEN = 50_000


def store(stream: IO[bytes], name: str, folder: Path) -> tuple[Path, str]:
    """Keep an uploaded file under its digest.

    Args:
        name: as the browser gave it; untrusted, and used for the last part of the path only.
        folder: of uploads; made if need be, for this user alone.

    Returns:
        Path and hexadecimal SHA-256 of the file.

    Raises:
        DataError: when it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        digest = hashlib.sha256()
        with tempfile.TemporaryDirectory(dir=folder, prefix=".up-") as place:
            part = Path(place) / "part"
            with part.open("wb") as file:
                while block := stream.read(_BLOCK):
                    digest.update(block)
                    file.write(block)
            sha256 = digest.hexdigest()
            target = folder / sha256 / safe_name(name)
            target.parent.mkdir(exist_ok=True, mode=0o700)
            part.replace(target)
    except OSError as error:
        raise DataError(
            f"cannot keep the upload: {error.strerror}; free some space on the server"
        ) from error
    return target, sha256


def store_folder(
    files: Sequence[tuple[str, bytes]], folder: Path, *, most_megabytes: int
) -> Path:
    """Keep an uploaded folder of pictures as one zip file under its digest; returns its path.

    Args:
        files: relative path, as the browser gave it, and content of each picture.
        most_megabytes: that all pictures may have together.

    Raises:
        DataError: when it is empty, too large or cannot be written.
    """
    if not files:
        raise DataError("expected a folder with pictures, it holds none")
    total = sum(len(content) for _, content in files)
    if total > most_megabytes * _MEGABYTE:
        raise DataError(
            f"expected a folder of at most {most_megabytes} MB, its pictures have "
            f"{-(-total // _MEGABYTE)} MB together; choose fewer or smaller ones"
        )
    buffer = tempfile.SpooledTemporaryFile(max_size=64 << 20)  # noqa: SIM115 (closed below)
    with buffer:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, content in sorted(files):
                parts = [safe_name(part) for part in name.replace("\\", "/").split("/") if part]
                inner = parts[1:] if len(parts) > 2 else parts  # without the folder itself
                archive.writestr(zipfile.ZipInfo("/".join(inner)), content)
        buffer.seek(0)
        return store(buffer, "folder.zip", folder)[0]


def numbers(text: str) -> tuple[float, ...] | None:
    """Numbers with commas between them; None for empty text.

    Raises:
        DataError: when they are no numbers.
    """
    if not text.strip():
        return None
    try:
        return tuple(float(part) for part in text.replace(";", ",").split(","))
    except ValueError:
        raise DataError(f"expected numbers like 0.5, 0.5, 0.5, got {text[:60]!r}") from None


def tidy(folder: Path, *, keep: Collection[str], days: float = 30.0) -> int:
    """Remove uploads that no scan refers to any more; how many were removed.

    Args:
        keep: paths that scans refer to.
        days: younger ones stay.
    """
    used = {Path(path).parent.name for path in keep}
    limit = time.time() - days * 86_400
    old = [place for place in folder.iterdir()
           if place.name not in used and place.stat().st_mtime < limit] if folder.is_dir() else []
    for place in old:
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)
    return len(old)


def safe_name(name: str) -> str:
    """A file name without folders, control signs or a leading dot."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = re.sub(r"[^\w.\- ]", "_", last).strip(". ")[-100:]
    return kept or "file"


def confine(text: str, folder: Path | None) -> Path:
    """The path ``text`` below the allowed server folder.

    Raises:
        DataError: when no folder is allowed, or the path is missing or leads out of it.
    """
    if folder is None:
        raise DataError(
            "no server folder is open to the browser; start the dashboard with --models FOLDER"
        )
    try:
        path = (folder / text).resolve()
        allowed = path.is_relative_to(folder) and path.exists()
    except (OSError, ValueError):
        allowed = False
    if not allowed:
        raise DataError("expected a path inside the allowed server folder; choose one of its files")
    return path


@dataclass(frozen=True)
class Listing:
    """What may be picked in the server folder.

    Attributes:
        names: relative paths, sorted.
        is_whole: False when the folder holds more than are looked at or listed.
    """

    names: list[str]
    is_whole: bool = True


def listing(
    folder: Path | None, suffixes: tuple[str, ...], *, classes: bool = False, flat: bool = False
) -> Listing:
    """The files below ``folder`` that may be picked.

    Args:
        suffixes: endings of the names.
        classes: whether folders with subfolders (of classes) are listed as well.
        flat: whether folders that hold pictures themselves are.
    """
    if folder is None:
        return Listing([])
    found: list[str] = []
    seen = 0
    for place, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        here = Path(place)
        for file in files:
            seen += 1
            if file.lower().endswith(suffixes) and not (here / file).is_symlink():
                found.append(str((here / file).relative_to(folder)))
        pictures = flat and any(file.lower().endswith(PICTURE_SUFFIXES) for file in files)
        if here != folder and (pictures or (classes and names)):
            found.append(str(here.relative_to(folder)))
        if seen > _MOST_SEEN or len(found) > _MOST_LISTED:
            return Listing(sorted(found)[:_MOST_LISTED], is_whole=False)
    return Listing(sorted(found))
