"""When two scans are the same: the checkpoint by its bytes, and all that decides the result."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from dataclasses import dataclass
from pathlib import Path

from rnp_core.errors import CheckpointError, DataError
from rnp_core.manifest import file_sha256
from rnp_core.request import ScanRequest
from rnp_core.version import VERSION

_INCIDENTAL = ("checkpoint", "clean", "suspects", "arch", "out", "threads", "device", "force")
"""Fields of a request that do not decide the result, or do so by content."""

EXAMPLE_FOLDERS = ("clean-example-data", "clean_example_data", "example_data")
"""Where the folders of TrojAI rounds keep clean images."""

_BESIDE = (
    "config.json", "preprocessor_config.json", "reduced-config.json", *EXAMPLE_FOLDERS,
    "poisoned-example-data", "poisoned_example_data",
)
_NAMES_WITH_FOLDER = ("model.safetensors", "model.pt", "pytorch_model.bin")
"""Weight files of these names are read together with what lies beside them."""


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
    """Finds identities; remembers the digests of files that have not changed since."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int, int, int], str] = {}
        self._lock = threading.Lock()

    def digest(self, checkpoint: Path) -> str:
        """Digest of a checkpoint file, or of the weight file of a checkpoint folder.

        Raises:
            CheckpointError: when there is none, or it cannot be read.
        """
        try:
            return self._file(_weights(checkpoint))
        except OSError as error:
            raise CheckpointError(f"cannot read {checkpoint}: {error.strerror}") from error

    def identify(self, request: ScanRequest) -> Identity:
        """The identity of a request with absolute paths.

        Raises:
            CheckpointError: when the checkpoint cannot be read.
            DataError: when images or the file of an architecture cannot be read.
        """
        path = Path(request.checkpoint)
        sha256 = self.digest(path)
        settings = {
            name: value for name, value in request.to_dict().items() if name not in _INCIDENTAL
        }
        for name in ("clean", "suspects"):
            place = getattr(request, name)
            settings[name] = self._content(Path(place)) if place is not None else None
        if path.is_dir() or path.name in _NAMES_WITH_FOLDER:
            places = [_weights(path).parent / name for name in _BESIDE]
            settings.update({p.name: self._content(p) for p in places if p.exists()})
        settings["arch"] = self._architecture(request.arch)
        text = json.dumps({**settings, "version": VERSION}, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:32]
        return Identity(sha256, path.name, key)

    def _architecture(self, arch: str | None) -> str | None:
        """The name of an architecture; of ``FILE.py:CALLABLE``, the file's content and the name."""
        code, name = split_code(arch)
        return arch if code is None else f"{self._content(code)}:{name}"

    def _content(self, path: Path) -> str:
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
            what = "the architecture" if path.suffix == ".py" else "images"
            raise DataError(f"cannot read {what} at {path}: {error.strerror}") from error

    def _file(self, path: Path) -> str:
        status = path.stat()
        key = (  # who replaces a file can set its time of modification, but not that of change
            str(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )
        with self._lock:
            known = self._known.get(key)
        if known is None:
            known = file_sha256(path)
            with self._lock:
                self._known[key] = known
        return known


def absolute(request: ScanRequest) -> ScanRequest:
    """The request with paths that mean the same in every process."""
    def whole(path: str) -> str:
        return str(Path(path).expanduser().absolute())

    code, name = split_code(request.arch)
    return dataclasses.replace(
        request,
        arch=request.arch if code is None else f"{whole(str(code))}:{name}",
        checkpoint=whole(request.checkpoint),
        clean=whole(request.clean) if request.clean is not None else None,
        suspects=whole(request.suspects) if request.suspects is not None else None,
        out=whole(request.out),
    )


def split_code(arch: str | None) -> tuple[Path | None, str]:
    """File and callable of ``FILE.py:CALLABLE``; no file for anything else."""
    path, _, name = (arch or "").rpartition(":")
    return (Path(path), name) if path.endswith(".py") else (None, name)


def _weights(path: Path) -> Path:
    """The weight file of a checkpoint.

    Raises:
        CheckpointError: when there is none.
        OSError: when its folder cannot be read.
    """
    if path.is_dir():
        from rnp_core.checkpoints.folder import locate
        from rnp_core.checkpoints.limits import ReadLimits

        path = locate(path, ReadLimits()).weights
    if not path.is_file():
        raise CheckpointError(f"expected a checkpoint at {path}, there is no such file")
    return path
