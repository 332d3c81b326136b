"""The only module with ``st.cache_*``. Keys are values; what is shared is never changed."""

from __future__ import annotations

import base64
import logging
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from dashboard.maps import Maps
from dashboard.pictures import sprite_sheet
from dashboard.settings import Settings, read_settings
from dashboard.uploads import Listing, listing
from rnp_core import (
    DataError,
    IsolationError,
    IsolationLimits,
    JobEngine,
    JobError,
    RnpError,
    RunFolder,
    ScanRequest,
    isolated_inspect,
    list_demos,
    run_isolated,
)

_log = logging.getLogger(__name__)
_CHILD_LIMITS = IsolationLimits(memory_bytes=4 << 30, seconds=120.0)
_children = threading.BoundedSemaphore(2)


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    """Settings of this server."""
    return read_settings()


@st.cache_resource(show_spinner=False)
def engine() -> JobEngine:
    """The job engine that all sessions share."""
    chosen = settings()
    return JobEngine(chosen.home, scheduler=chosen.scheduler)


def run(folder: Path) -> RunFolder:
    """A finished scan on disk with its report.

    Raises:
        RnpError: when there is no report or it cannot be read.
    """
    path = folder / "report.json"
    return _run(str(folder), path.stat().st_mtime_ns if path.is_file() else 0)


@st.cache_resource(max_entries=64, show_spinner=False)
def _run(folder: str, stamp: int) -> RunFolder:
    try:
        return RunFolder.open(Path(folder))
    except RnpError as error:  # its message names the folder, which is the server's business
        _log.warning("%s", error)
        raise DataError("the report of this scan is missing or damaged") from error


def thumbnails(run: RunFolder) -> dict[int, np.ndarray]:
    """Small pictures of suspects by index, ``(h, w, 3)`` uint8; empty where there are none."""
    path = run.path(run.report.files.get("suspect_thumbnails"))
    return _thumbnails(str(run.folder), path.stat().st_mtime_ns) if path else {}


@st.cache_resource(max_entries=16, show_spinner=False)
def _thumbnails(folder: str, stamp: int) -> dict[int, np.ndarray]:
    return {
        index: np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels
        for index, pixels in run(Path(folder)).thumbnails().items()
    }


@st.cache_data(max_entries=16, show_spinner=False)
def sprite(folder: str, indices: tuple[int, ...], columns: int) -> bytes:
    """One PNG of many thumbnails; see :func:`dashboard.pictures.sprite_sheet`."""
    found = thumbnails(run(Path(folder)))
    return sprite_sheet([found[i] for i in indices], columns=columns)


@st.cache_data(max_entries=64, show_spinner=False)
def triage(path: str, stamp: str) -> dict[str, Any]:
    """What a checkpoint file is; see ``rnp_core.isolated_inspect``.

    Raises:
        RnpError: when it cannot be looked at.
    """
    return isolated_inspect(Path(path))


def stamp(path: Path) -> str:
    """Something that changes when a file or folder changes."""
    try:
        facts = path.stat()
    except OSError as error:
        raise DataError(f"cannot read {path.name}: {error.strerror}") from error
    return f"{facts.st_mtime_ns}-{facts.st_size}"


@st.cache_data(ttl=5.0, max_entries=8, show_spinner=False)
def server_files(
    folder: Path | None, suffixes: tuple[str, ...], *, classes: bool = False, flat: bool = False
) -> Listing:
    """What may be picked on the server; see :func:`dashboard.uploads.listing`."""
    return listing(folder, suffixes, classes=classes, flat=flat)


@st.cache_data(max_entries=32, show_spinner=False)
def image_preview(request: ScanRequest, sha256: str, clean_stamp: str) -> dict[str, Any] | str:
    """What the clean images of a request are and how well the model does on them; the reason where
    the child process ended without a result, as for lack of time. Nobody waits for that twice.

    Args:
        sha256: of the checkpoint.

    Raises:
        RnpError: when they cannot be read or do not suit the model.
    """
    try:
        return _child("preview", {"request": request.to_dict()})
    except IsolationError as error:
        return str(error)


@st.cache_data(max_entries=64, show_spinner=False)
def made_maps(
    request: ScanRequest, sha256: str, suspects_sha256: str, repaired: str | None, index: int,
    target: int,
) -> Maps:
    """Attribution maps of a suspect that the scan made none of; see
    :func:`dashboard.child_tasks.explain`.

    Raises:
        RnpError: when the files of the scan are gone or have changed.
    """
    found = _child("explain", {
        "request": request.to_dict(), "sha256": sha256, "suspects_sha256": suspects_sha256,
        "repaired": repaired, "index": index, "target": target,
    })
    return {(method, model): base64.b64decode(data) for method, model, data in found["maps"]}


@st.cache_data(max_entries=64, show_spinner=False)
def answers(
    request: ScanRequest, sha256: str, repaired: str | None, pictures: tuple[bytes, ...]
) -> dict[str, list[tuple[int, float]]]:
    """Label and probability of each picture by model; see :func:`dashboard.child_tasks.answer`.

    Raises:
        RnpError: when the checkpoint is gone or has changed.
    """
    found = _child("answer", {
        "request": request.to_dict(), "sha256": sha256, "repaired": repaired,
        "pictures": [base64.b64encode(data).decode() for data in pictures],
    })
    return {model: [(label, share) for label, share in rows]
            for model, rows in found["answers"].items()}


def _child(task: str, payload: dict[str, Any]) -> dict[str, Any]:
    """A task of :mod:`dashboard.child_tasks`; few run at once, the others wait."""
    with _children:
        return run_isolated(f"dashboard.child_tasks:{task}", payload, limits=_CHILD_LIMITS)


@st.cache_data(show_spinner=False)
def demo_pictures() -> dict[str, bytes]:
    """A row of pictures for each demo model by name: those that it was attacked with, if any."""
    found = {}
    for demo in list_demos():
        with np.load(demo.suspects or demo.clean, allow_pickle=False) as arrays:
            images = arrays["x"]
            chosen = np.linspace(sum(demo.name.encode()) % 50, len(images) - 1, 6).astype(int)
            if demo.suspects and "is_poisoned" in arrays:
                chosen = np.flatnonzero(arrays["is_poisoned"])[:6]
            found[demo.name] = sprite_sheet([images[i] for i in chosen], columns=6)
    return found


def export_run(job_id: str) -> bytes:
    """A finished scan as a zip file, see :meth:`rnp_core.JobEngine.export_run`."""
    with tempfile.TemporaryDirectory(prefix="rnp-export-") as folder:
        archive = Path(folder) / "scan.zip"
        engine().export_run(job_id, archive)
        return archive.read_bytes()


def import_run(file: Any) -> str:
    """Take an uploaded scan into the history; returns its id.

    Raises:
        RnpError: when it is no exported scan, or is here already.
    """
    with tempfile.TemporaryDirectory(prefix="rnp-import-") as folder:
        archive = Path(folder) / "scan.zip"
        archive.write_bytes(file.getbuffer())
        try:
            return engine().import_run(archive)
        except JobError as error:
            raise DataError(str(error).replace(str(archive), "the file")) from error


@st.cache_data(ttl=5.0, show_spinner=False)
def fleet_tags() -> list[str]:
    """Tags of the fleets in the history, sorted."""
    jobs = engine().jobs(tag="fleet", kind=None, limit=20_000)
    return sorted({tag for job in jobs for tag in job.tags if tag.startswith("fleet:")})
