"""A folder of images on disk. Nothing outside of it is touched."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rnp_core.errors import DataError
from rnp_core.images.budget import Budget
from rnp_core.images.listing import ImageFile, ImageSource, Listing, is_junk
from rnp_core.images.result import BrokenFile

# A swapped-in link or pipe must neither be followed nor block; Windows has neither flag.
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


def open_folder(root: Path, budget: Budget) -> ImageSource:
    """List the regular files below ``root``; symbolic links, pipes and devices are ignored.

    Raises:
        DataError: for more than ``max_files`` entries, or when the folder cannot be listed.
    """
    listing = Listing()
    waiting: list[tuple[str, ...]] = [()]
    count = 0
    while waiting:
        parts = waiting.pop()
        budget.check_time()
        try:
            with os.scandir(root.joinpath(*parts)) as entries:
                for entry in entries:
                    count += 1
                    if count > budget.limits.max_files:
                        raise DataError(
                            f"expected at most {budget.limits.max_files} files in {root} "
                            "(limit max_files), got more"
                        )
                    if _add(listing, entry, (*parts, entry.name), budget.limits.folder_depth):
                        waiting.append((*parts, entry.name))
        except OSError as error:
            if not parts:
                raise DataError(f"cannot list the folder {root}: {error.strerror}") from error
            listing.ignore(parts, f"cannot be listed: {error.strerror}")
    listing.finish()

    def read(file: ImageFile) -> bytes:
        return _read(root.joinpath(*file.key), budget)

    return ImageSource(listing, read)


def _add(listing: Listing, entry: os.DirEntry[str], parts: tuple[str, ...], depth: int) -> bool:
    """Sort in one entry; True for a folder to go into."""
    if is_junk(parts):
        return False
    if entry.is_symlink():
        listing.ignore(parts, "a symbolic link, not followed")
    elif entry.is_dir(follow_symlinks=False):
        if len(parts) < depth:
            listing.add_folder(parts)
            return True
        listing.ignore(parts, f"more than {depth} folders deep")
    elif entry.is_file(follow_symlinks=False):
        listing.add_file(parts, parts)
    else:
        listing.ignore(parts, "not a regular file")
    return False


def _read(path: Path, budget: Budget) -> bytes:
    limit = budget.limits.file_bytes
    try:
        with open(os.open(path, _OPEN_FLAGS), "rb") as file:  # noqa: PTH123 - flags
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BrokenFile("not a regular file")
            data = b"" if status.st_size > limit else file.read(limit + 1)
    except OSError as error:
        raise BrokenFile(f"cannot be opened: {error.strerror}") from error
    if status.st_size > limit or len(data) > limit:
        raise BrokenFile(f"larger than the limit file_bytes, {limit} bytes")
    budget.spend_bytes(len(data))
    return data
