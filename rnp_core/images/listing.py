"""The files of a source, sorted out before one of them is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rnp_core.checkpoints.records import printable
from rnp_core.images.result import SkippedFile

_TEXTS = ("txt", "csv", "tsv", "json", "jsonl", "xml", "md", "html", "yaml", "yml", "toml", "log")
_ARCHIVES = ("zip", "tar", "gz", "tgz", "bz2", "xz", "7z", "rar")
_DATA = (
    "npy",
    "npz",
    "mat",
    "pkl",
    "pickle",
    "pt",
    "pth",
    "safetensors",
    "db",
    "py",
    "ipynb",
    "pdf",
)
NOT_IMAGES = frozenset((*_TEXTS, *_ARCHIVES, *_DATA))
_JUNK_NAMES = frozenset(("__macosx", "thumbs.db", "desktop.ini", "icon\r"))


class ImageFile(NamedTuple):
    """A file that may be an image: path parts inside the source, and the key to read it by."""

    parts: tuple[str, ...]
    key: Any

    @property
    def name(self) -> str:
        """Path inside the source, fit to be shown."""
        return printable("/".join(self.parts)[:300])


@dataclass
class Listing:
    """Collects the entries of a folder or archive.

    Attributes:
        files: candidates, in the order added.
        folders: parts of every folder of the first two levels, with or without images.
        ignored: entries that are no candidates, with reasons; junk of operating systems is left out
            without a word.
    """

    files: list[ImageFile] = field(default_factory=list)
    folders: set[tuple[str, ...]] = field(default_factory=set)
    ignored: list[SkippedFile] = field(default_factory=list)

    def add_file(self, parts: tuple[str, ...], key: Any) -> None:
        """Sort in a regular file by its name; content decides later what it is."""
        if is_junk(parts):
            return
        if parts[:-1][:2] not in self.folders:
            self.add_folder(parts[:-1])
        extension = parts[-1].rpartition(".")[2].lower() if "." in parts[-1] else ""
        file = ImageFile(parts, key)
        if extension in NOT_IMAGES:
            self.ignored.append(SkippedFile(file.name, f"a .{extension} file is not an image"))
        else:
            self.files.append(file)

    def add_folder(self, parts: tuple[str, ...]) -> None:
        """Note a folder and those above it."""
        if not is_junk(parts):
            self.folders.update(parts[:end] for end in range(1, min(len(parts), 2) + 1))

    def ignore(self, parts: tuple[str, ...], reason: str) -> None:
        """Note an entry that is not read."""
        if not is_junk(parts):
            self.ignored.append(SkippedFile(printable("/".join(parts)[:300]), reason))

    def finish(self) -> None:
        """Sort the files by path and take off one folder that wraps all the others."""
        self.files.sort(key=lambda file: file.parts)
        top = {parts[0] for parts in self.folders}
        wrapped = len(top) == 1 and all(len(file.parts) >= 3 for file in self.files)
        if wrapped and self.files:
            self.files = [ImageFile(file.parts[1:], file.key) for file in self.files]
            self.folders = {parts[1:] for parts in self.folders if len(parts) > 1}

    def class_folders(self) -> list[str]:
        """Names of the folders at the top, sorted."""
        return sorted({parts[0] for parts in self.folders})


@dataclass(frozen=True)
class ImageSource:
    """An open folder or archive: its listing and how to get the bytes of a file.

    ``read`` raises ``BrokenFile`` for a file that cannot be had and ``DataError`` at a limit.
    """

    listing: Listing
    read: Callable[[ImageFile], bytes]


def is_junk(parts: tuple[str, ...]) -> bool:
    """True for hidden entries and what macOS and Windows leave behind."""
    return any(part[:1] == "." or part.lower() in _JUNK_NAMES for part in parts)
