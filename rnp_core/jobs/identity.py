"""When two scans are the same: the checkpoint by its bytes, and all that decides the result."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass
from pathlib import Path

from rnp_core.errors import CheckpointError, DataError
from rnp_core.request import ScanRequest
from rnp_core.version import VERSION

_BLOCK = 1 << 20
_INCIDENTAL = ("checkpoint", "clean", "suspects", "out", "threads", "device", "force")
"""Fields of a request that do not decide the result, or do so by content."""


@dataclass(frozen=True)
class Identity:
    """Attributes:
    sha256: of the weight file, as reports give it.
    name: of the file or folder that was named; untrusted text.
    settings_key: of images, settings and program version together.
    """

    sha256: str
    name: str
    settings_key: str


class Identifier:
    """Finds identities; remembers the digests of image sets that have not changed since."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], str] = {}
        self._lock = threading.Lock()

    def identify(self, request: ScanRequest) -> Identity:
        """The identity of a request.

        Raises:
            CheckpointError: when the checkpoint cannot be read.
            DataError: when images cannot be read.
        """
        path = Path(request.checkpoint)
        settings = {
            name: value for name, value in request.to_dict().items() if name not in _INCIDENTAL
        }
        for name in ("clean", "suspects"):
            place = getattr(request, name)
            settings[name] = self._images(Path(place)) if place is not None else None
        text = json.dumps({**settings, "version": VERSION}, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:32]
        return Identity(checkpoint_sha256(path), path.name, key)

    def _images(self, path: Path) -> str:
        """Digest of a file, or of all files of a folder with their names."""
        try:
            if not path.is_dir():
                return self._file(path)
            digest = hashlib.sha256()
            for file in sorted(path.rglob("*")):
                if file.is_file():
                    name = str(file.relative_to(path))
                    digest.update(f"{name}\0{self._file(file)}\n".encode(errors="surrogateescape"))
            return digest.hexdigest()
        except OSError as error:
            raise DataError(f"cannot read images at {path}: {error.strerror}") from error

    def _file(self, path: Path) -> str:
        status = path.stat()
        key = (str(path), status.st_mtime_ns, status.st_size)
        with self._lock:
            known = self._known.get(key)
        if known is None:
            known = file_sha256(path)
            with self._lock:
                self._known[key] = known
        return known


def checkpoint_sha256(path: Path) -> str:
    """Digest of a checkpoint file, or of the weight file of a checkpoint folder.

    Raises:
        CheckpointError: when there is none or it cannot be read.
    """
    try:
        if path.is_dir():
            from rnp_core.checkpoints.folder import locate
            from rnp_core.checkpoints.limits import ReadLimits

            path = locate(path, ReadLimits()).weights
        if not path.is_file():
            raise CheckpointError(f"expected a checkpoint at {path}, there is no such file")
        return file_sha256(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def file_sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
