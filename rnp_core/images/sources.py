"""Opening what a path names: a folder, a zip archive of images, or an npz file."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnp_core.checkpoints.records import printable
from rnp_core.errors import DataError, reason_of
from rnp_core.images.archive import SafeZip, open_zip
from rnp_core.images.budget import Budget
from rnp_core.images.folder import open_folder
from rnp_core.images.listing import ImageFile, ImageSource, Listing


@contextmanager
def open_source(path: Path, budget: Budget) -> Iterator[ImageSource | SafeZip]:
    """An :class:`ImageSource` with at least one file, or the archive of an npz file.

    An archive with ``x.npy`` at its top is an npz file, whatever its name.

    Raises:
        DataError: when there is nothing at ``path``, it is of another kind, refused, or empty.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            _check_zip(path)
    except FileNotFoundError as error:
        raise DataError(f"expected images at {_shown(path)}, found nothing there") from error
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read images at {_shown(path)}: {reason_of(error)}") from error
    if stat.S_ISDIR(mode):
        yield _not_empty(open_folder(path, budget), path)
        return
    if not stat.S_ISREG(mode):
        raise _another_kind(path)
    with open_zip(path, budget) as archive:
        if "x.npy" in archive.members or path.suffix.lower() == ".npz":
            yield archive
        else:
            yield _not_empty(_zip_source(archive), path)


def _check_zip(path: Path) -> None:
    with path.open("rb") as file:
        if zipfile.is_zipfile(file):
            return
        file.seek(0)
        if file.read(4) == b"PK\x03\x04":
            raise DataError(f"the archive {path} is cut short or damaged")
    raise _another_kind(path)


def _another_kind(path: Path) -> DataError:
    return DataError(f"expected a folder, a .zip or an .npz file, got {path}")


def _shown(path: Path) -> str:
    text = printable(str(path))
    return text if len(text) <= 200 else f"{text[:200]}..."


def _zip_source(archive: SafeZip) -> ImageSource:
    listing = Listing()
    for name in archive.members:
        if parts := _parts(name):
            listing.add_file(parts, name)
    for name in archive.folders:
        listing.add_folder(_parts(name))
    for name in archive.links:
        listing.ignore(_parts(name), "a symbolic link, not followed")
    listing.finish()

    def read(file: ImageFile) -> bytes:
        return archive.read(file.key)

    return ImageSource(listing, read)


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.split("/") if part not in ("", "."))


def _not_empty(source: ImageSource, path: Path) -> ImageSource:
    if source.listing.files:
        return source
    ignored = source.listing.ignored
    hint = f"; {ignored[0].name} is left out: {ignored[0].reason}" if ignored else ""
    raise DataError(f"expected images in {path}, found none{hint}")
