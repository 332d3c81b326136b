"""The manifest of a run folder: a SHA-256 sum of every file, written last and checked later.

A manifest shows damage and careless changes. Whoever can change the folder can change the manifest
too: only a signature of it (:mod:`rnp_core.reports.signing`) shows who made the folder.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from rnp_core.errors import ReportError

MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = "manifest.json.minisig"
MANIFEST_VERSION = 1

_OWN = frozenset({MANIFEST_NAME, SIGNATURE_NAME, "manifest.json.sigstore.json"})
_LARGEST_MANIFEST = 64 << 20


@dataclass(frozen=True)
class ManifestCheck:
    """How a run folder compares with its manifest; paths are relative to the folder.

    Attributes:
        count: files that are as they were.
        changed: files with another content.
        missing: files of the manifest that are gone.
        added: files that the manifest does not list, and links.
    """

    count: int
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        """Whether every file is as it was, with none missing and none added."""
        return not (self.changed or self.missing or self.added)


def write_manifest(folder: Path) -> None:
    """Write ``manifest.json`` with the sums of all other files in ``folder``."""
    files = {
        name: {"sha256": file_sha256(folder / name), "size_bytes": (folder / name).stat().st_size}
        for name in _listing(folder)
    }
    text = json.dumps(
        {"manifest_version": MANIFEST_VERSION, "algorithm": "sha256", "files": files},
        indent=1,
        ensure_ascii=False,
    )
    (folder / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")


def check_manifest(folder: Path) -> ManifestCheck:
    """Compare the files in ``folder`` with its manifest.

    Raises:
        ReportError: when there is no manifest, or it or a file cannot be read.
    """
    listed = read_manifest(folder)
    try:
        present = _listing(folder)
        found = {name: _plain_sha256(folder / name) for name in present if name in listed}
    except OSError as error:
        raise ReportError(f"cannot check the files in {folder}: {error.strerror}") from error
    changed = tuple(name for name in found if found[name] != listed[name])
    return ManifestCheck(
        count=len(found) - len(changed),
        changed=changed,
        missing=tuple(sorted(listed.keys() - set(present))),
        added=tuple(name for name in present if name not in listed),
    )


def read_manifest(folder: Path) -> dict[str, str]:
    """SHA-256 sums by relative path.

    Raises:
        ReportError: when there is no manifest or it cannot be read.
    """
    path = folder / MANIFEST_NAME
    try:
        if path.stat().st_size > _LARGEST_MANIFEST:
            raise ReportError(f"expected a manifest below {_LARGEST_MANIFEST >> 20} MiB at {path}")
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["manifest_version"] != MANIFEST_VERSION or data["algorithm"] != "sha256":
            raise ReportError(f"expected a manifest of version {MANIFEST_VERSION} at {path}")
        return {str(name): str(entry["sha256"]) for name, entry in data["files"].items()}
    except FileNotFoundError:
        raise ReportError(f"expected a manifest at {path}, found none") from None
    except OSError as error:
        raise ReportError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ReportError(f"{path} is not a manifest: {error!r}") from error


def file_sha256(path: Path) -> str:
    """The SHA-256 sum of a file, in hexadecimal."""
    sums = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sums.update(block)
    return sums.hexdigest()


def _plain_sha256(path: Path) -> str | None:
    """None for a link, a pipe or a device, which no scan writes."""
    return file_sha256(path) if path.is_file() and not path.is_symlink() else None


def _listing(folder: Path) -> list[str]:
    """Relative paths of the files below ``folder``, links included, without the manifest itself."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    names = (path.relative_to(folder).as_posix() for path in found)
    return sorted(name for name in names if name not in _OWN)
