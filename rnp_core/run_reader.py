"""Reading a run folder: the report, its pictures and thumbnails, and nothing outside the folder.

A run folder may come from somebody else, so its paths and pictures are not trusted. No torch in
here.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnp_core.errors import ReportError
from rnp_core.report import ScanReport

REPORT_NAME = "report.json"
REPAIRED_NAME = "repaired.safetensors"
THUMBNAILS_NAME = "suspects.npz"

_LARGEST_REPORT = 256 << 20
_LARGEST_PICTURE = 16 << 20
_LARGEST_THUMBNAILS = 256 << 20


def read_report(folder: Path) -> ScanReport:
    """The report in a run folder, or in the file itself.

    Raises:
        ReportError: when there is none or it cannot be read.
    """
    path = folder / REPORT_NAME if folder.is_dir() else folder
    try:
        if path.stat().st_size > _LARGEST_REPORT:
            raise ReportError(f"expected a report below {_LARGEST_REPORT >> 20} MiB at {path}")
        return ScanReport.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ReportError(f"cannot read a report at {path}: {error.strerror}") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise ReportError(f"{path} is not a report: {error}") from error


@dataclass(frozen=True, eq=False)
class RunFolder:
    """A finished scan on disk.

    Attributes:
        folder: holds ``report.json``.
        report: what it says.
    """

    folder: Path
    report: ScanReport

    @classmethod
    def open(cls, folder: Path) -> RunFolder:
        """Read the report in ``folder``.

        Raises:
            ReportError: when ``folder`` is none, or its report cannot be read.
        """
        if not folder.is_dir():
            raise ReportError(f"expected the folder of a scan, found none at {folder}")
        return cls(folder, read_report(folder))

    def path(self, name: str | None) -> Path | None:
        """The file that the report calls ``name``; None when it is missing or outside."""
        if not name or "\x00" in name:
            return None
        root = self.folder.resolve()
        found = (root / name).resolve()
        return found if found.is_relative_to(root) and found.is_file() else None

    def picture(self, name: str | None) -> bytes | None:
        """The bytes of a picture; None when it is missing, outside or above 16 MiB."""
        path = self.path(name)
        if path is None or path.stat().st_size > _LARGEST_PICTURE:
            return None
        return path.read_bytes()

    def thumbnails(self) -> dict[int, np.ndarray]:
        """Small pictures by suspect index, ``(h, w, C)`` uint8 each; empty when there are none."""
        path = self.path(self.report.files.get("suspect_thumbnails"))
        if path is None or path.stat().st_size > _LARGEST_THUMBNAILS:
            return {}
        try:
            if _unpacked_size(path) > _LARGEST_THUMBNAILS:
                return {}
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                pixels = stored["x"]
                index = stored["index"] if "index" in stored else np.arange(len(pixels))
                places = index.astype(np.int64, casting="safe").ravel().tolist()
        except (OSError, TypeError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return {}
        if pixels.ndim != 4 or pixels.dtype != np.uint8 or pixels.shape[-1] not in (1, 3):
            return {}
        if pixels.size == 0:
            return {}
        return dict(zip(places, pixels, strict=False))


def _unpacked_size(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist())
