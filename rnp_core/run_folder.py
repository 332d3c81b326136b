"""Writing a scan to disk: everything into a temporary folder, then moved to its place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from rnp_core.errors import ReportError, reason_of
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

_PREFIX = ".rnp-"
_EARLIER = f"{_PREFIX}earlier-"  # what was set aside, until the new scan is in its place


def check_target(folder: Path, *, force: bool) -> None:
    """Refuse a target that cannot take a scan, before any work is done.

    Raises:
        ReportError: when the folder holds a scan (unless ``force``) or other files, or cannot be
            written.
    """
    if "\x00" in str(folder):
        raise ReportError(f"cannot write to {_shown(folder)}: a name holds a NUL character")
    try:
        if folder.exists() and not folder.is_dir():
            raise ReportError(f"expected a folder for the results, {folder} is a file")
        if folder.is_symlink() and not folder.exists():
            raise ReportError(f"expected a folder for the results, {folder} is a link to nothing")
        if folder.is_dir() and any(_is_content(entry) for entry in folder.iterdir()):
            if not (folder / REPORT_NAME).exists():
                raise ReportError(
                    f"{folder} holds files that are no scan; choose an empty folder{_cut(folder)}"
                )
            if not force:
                raise ReportError(f"{folder} already holds a scan; use --force to replace it")
        place = folder.absolute() if folder.is_dir() else folder.absolute().parent
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place, prefix=_PREFIX):
            pass
    except OSError as error:
        raise ReportError(f"cannot write to {_shown(folder)}: {reason_of(error)}") from error


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

    A new folder appears at once. Files go into a folder that exists under a temporary name first,
    and ``report.json`` moves last. A process that is killed during these moves leaves the earlier
    scan in a folder ``.rnp-earlier-*`` inside.

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
    staging = None
    try:
        place = folder if folder.is_dir() else folder.parent
        staging = Path(tempfile.mkdtemp(dir=place, prefix=_PREFIX))
        _fill(staging, report, pictures, repaired_state, thumbnails)
        if place == folder:
            _move_into(staging, folder)
        else:
            staging.chmod(0o755)
            staging.replace(folder)
    except (OSError, SafetensorError) as error:
        raise ReportError(f"cannot write the scan to {folder}: {reason_of(error)}") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def _fill(
    staging: Path,
    report: ScanReport,
    pictures: Mapping[str, bytes],
    repaired_state: Mapping[str, Tensor],
    thumbnails: Mapping[str, np.ndarray] | None,
) -> None:
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


def _move_into(staging: Path, folder: Path) -> None:
    """Move what is in ``staging`` into ``folder``, the report last; an earlier scan is set aside,
    its report first, and comes back if something fails.
    """
    aside = Path(tempfile.mkdtemp(dir=folder, prefix=_EARLIER))
    old = sorted((e for e in folder.iterdir() if _is_content(e)), key=_is_no_report)
    new = sorted(staging.iterdir(), key=_is_no_report, reverse=True)
    moved: list[tuple[Path, Path]] = []
    try:
        pairs = [(entry, aside / entry.name) for entry in old]
        pairs += [(entry, folder / entry.name) for entry in new]
        for source, target in pairs:
            source.replace(target)
            moved.append((source, target))
    except BaseException:  # an interrupt too must not cost the earlier scan
        for source, target in reversed(moved):
            target.replace(source)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _cut(folder: Path) -> str:
    """Where the earlier scan lies, when a process was killed while it replaced that."""
    earlier = next(folder.glob(f"{_EARLIER}*"), None)
    return (
        f" (replacing a scan was cut off here; what was moved of the earlier one is in "
        f"{earlier.name})"
        if earlier
        else ""
    )


def _is_content(entry: Path) -> bool:
    """Whether an entry of a run folder is more than what an interrupted scan left, or lost+found of
    a file system."""
    return not entry.name.startswith(_PREFIX) and entry.name != "lost+found"


def _is_no_report(entry: Path) -> bool:
    return entry.name != REPORT_NAME


def _shown(folder: Path) -> str:
    text = str(folder).replace("\x00", "?")
    return text if len(text) <= 200 else f"{text[:200]}..."
