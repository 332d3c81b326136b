"""Writing a scan to disk: everything into a temporary folder beside the target, then one move."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from torch import Tensor

from rnp_core.errors import ReportError
from rnp_core.manifest import write_manifest
from rnp_core.report import ScanReport
from rnp_core.run_reader import REPAIRED_NAME, REPORT_NAME, THUMBNAILS_NAME, read_report

__all__ = [
    "REPAIRED_NAME",
    "REPORT_NAME",
    "THUMBNAILS_NAME",
    "check_target",
    "read_report",
    "write_run",
]


def check_target(folder: Path, *, force: bool) -> None:
    """Refuse a target that cannot take a scan, before any work is done.

    Raises:
        ReportError: when the folder holds a scan (unless ``force``) or other files, or cannot be
            written.
    """
    if folder.exists() and not folder.is_dir():
        raise ReportError(f"expected a folder for the results, {folder} is a file")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / REPORT_NAME).exists():
            raise ReportError(f"{folder} holds files that are no scan; choose an empty folder")
        if not force:
            raise ReportError(f"{folder} already holds a scan; use --force to replace it")
    parent = folder.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=parent, prefix=".rnp-"):
            pass
    except OSError as error:
        raise ReportError(f"cannot write to {parent}: {error.strerror}") from error


def write_run(
    folder: Path,
    report: ScanReport,
    *,
    pictures: Mapping[str, bytes],
    repaired_state: Mapping[str, Tensor],
    thumbnails: Mapping[str, np.ndarray] | None = None,
    force: bool = False,
) -> None:
    """Write report, pictures and repaired weights so that a reader sees all of them or none.

    Args:
        folder: must not exist, be empty, or (with ``force``) hold an earlier scan.
        pictures: path relative to the folder to PNG bytes.
        repaired_state: written to ``repaired.safetensors``.
        thumbnails: small pictures of suspects, written to ``suspects.npz``.

    Raises:
        ReportError: when the folder cannot be written; an earlier scan in it is left as it was.
    """
    check_target(folder, force=force)
    folder = folder.absolute()
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".rnp-"))
    try:
        for name, data in pictures.items():
            target = staging / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        save_file(
            {name: tensor.detach().clone().contiguous() for name, tensor in repaired_state.items()},
            staging / REPAIRED_NAME,
        )
        if thumbnails is not None:
            np.savez_compressed(staging / THUMBNAILS_NAME, **thumbnails)  # type: ignore[arg-type]
        (staging / REPORT_NAME).write_bytes(report.to_json().encode("utf-8", "backslashreplace"))
        write_manifest(staging)
        staging.chmod(0o755)
        _replace(staging, folder)
    except OSError as error:
        raise ReportError(f"cannot write the scan to {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace(staging: Path, folder: Path) -> None:
    """Move ``staging`` to ``folder``; an old folder is set aside until the move is done."""
    aside = None
    if folder.exists():
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".rnp-old-"))
        folder.replace(aside / "scan")
    try:
        staging.replace(folder)
    except OSError:
        if aside is not None:
            (aside / "scan").replace(folder)
        raise
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)
