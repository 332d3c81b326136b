"""The only module with ``st.cache_*``. Keys are values; what is shared is never changed."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from dashboard.settings import Settings, read_settings
from rnp_core import (
    DataError,
    DemoModel,
    IsolationLimits,
    JobEngine,
    JobError,
    RnpError,
    ScanReport,
    ScanRequest,
    isolated_inspect,
    list_demos,
    run_isolated,
)

_PREVIEW_LIMITS = IsolationLimits(memory_bytes=4 << 30, seconds=120.0)
_DAMAGED = "the pictures of this scan are damaged"


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    """Settings of this server."""
    return read_settings()


@st.cache_resource(show_spinner=False)
def engine() -> JobEngine:
    """The job engine that all sessions share."""
    chosen = settings()
    return JobEngine(chosen.home, scheduler=chosen.scheduler)


def report(run_folder: Path) -> ScanReport:
    """The report of a finished scan.

    Raises:
        RnpError: when there is none or it cannot be read.
    """
    path = run_folder / "report.json"
    stamp = path.stat().st_mtime_ns if path.is_file() else 0
    return _report(str(run_folder), stamp)


@st.cache_resource(max_entries=64, show_spinner=False)
def _report(run_folder: str, stamp: int) -> ScanReport:
    path = Path(run_folder) / "report.json"
    try:
        return ScanReport.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        kind = type(error).__name__
        raise DataError(f"the report of this scan cannot be read ({kind})") from error


def thumbnails(run_folder: Path, name: str | None) -> dict[int, np.ndarray]:
    """Small pictures of suspects by index, ``(h, w, 3)`` uint8; empty where there are none."""
    path = inside(run_folder, name)
    if path is None:
        return {}
    return _thumbnails(str(path), path.stat().st_mtime_ns)


@st.cache_resource(max_entries=16, show_spinner=False)
def _thumbnails(path: str, stamp: int) -> dict[int, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            pixels, index = arrays["x"], arrays["index"]
    except (OSError, ValueError, KeyError) as error:
        raise RnpError(_DAMAGED) from error
    if pixels.ndim != 4 or len(pixels) != len(index):
        raise RnpError(_DAMAGED)
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    return {int(i): image for i, image in zip(index, pixels, strict=True)}


def picture(run_folder: Path, name: str | None) -> bytes | None:
    """A picture of a run folder, or None when it is missing."""
    path = inside(run_folder, name)
    return _bytes(str(path), path.stat().st_mtime_ns) if path else None


def maps(run_folder: Path, report: ScanReport, index: int) -> dict[tuple[str, str], bytes]:
    """Attribution pictures of one image by (method, model); see ``rnp_core`` for the index."""
    return {
        (row.method, row.model): data
        for row in report.attributions
        if row.index == index and (data := picture(run_folder, row.png)) is not None
    }


@st.cache_data(max_entries=512, show_spinner=False)
def _bytes(path: str, stamp: int) -> bytes:
    return Path(path).read_bytes()


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


@st.cache_data(max_entries=32, show_spinner=False)
def image_preview(
    checkpoint: str,
    checkpoint_sha256: str,
    clean: str,
    clean_stamp: str,
    options: tuple[tuple[str, Any], ...],
) -> dict[str, Any]:
    """What the clean images are and how well the model does on them.

    Args:
        options: (name, value) of the settings of ``rnp_core.load_subject`` that matter.

    Raises:
        RnpError: when they cannot be read or do not suit the model.
    """
    payload = {"checkpoint": checkpoint, "clean": clean, **dict(options)}
    return run_isolated("dashboard.child_tasks:preview", payload, limits=_PREVIEW_LIMITS)


@st.cache_data(max_entries=16, show_spinner=False)
def sprite(run_folder: str, name: str, indices: tuple[int, ...], columns: int) -> bytes:
    """One PNG of many thumbnails; see :func:`dashboard.pictures.sprite_sheet`."""
    from dashboard.pictures import sprite_sheet

    found = thumbnails(Path(run_folder), name)
    return sprite_sheet([found[i] for i in indices], columns=columns)


@st.cache_data(show_spinner=False)
def demo_pictures() -> dict[str, bytes]:
    """A row of pictures for each demo model by name: those that it was attacked with, if any."""
    from dashboard.pictures import sprite_sheet

    found = {}
    for demo in list_demos():
        with np.load(demo.suspects or demo.clean, allow_pickle=False) as arrays:
            images = arrays["x"]
            chosen = np.linspace(sum(demo.name.encode()) % 50, len(images) - 1, 6).astype(int)
            if demo.suspects and "is_poisoned" in arrays:
                chosen = np.flatnonzero(arrays["is_poisoned"])[:6]
            found[demo.name] = sprite_sheet([images[i] for i in chosen], columns=6)
    return found


def demo_request(demo: DemoModel) -> ScanRequest:
    """The scan of a demo model with its own images."""
    return ScanRequest(
        checkpoint=str(demo.checkpoint), clean=str(demo.clean), out="",
        suspects=str(demo.suspects) if demo.suspects else None,
    )


def class_names(request: ScanRequest) -> list[str]:
    """Names of the classes as far as they are known before the model was read."""
    if request.class_names:
        return list(request.class_names)
    for demo in list_demos():
        if str(demo.checkpoint) == request.checkpoint:
            return list(demo.card.get("class_names", ()))
    return []


def report_formats() -> dict[str, Callable[[Path], bytes]]:
    """Writers of further forms of a report by name; each takes a run folder."""
    try:
        from rnp_core import render_report
    except ImportError:
        return {}
    return {
        name: functools.partial(_render, render_report, name)
        for name in ("html", "pdf", "sarif", "mlbom")
    }


def _render(write: Callable[[Path, str], bytes], name: str, run_folder: Path) -> bytes:
    return write(run_folder, name)


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


def inside(folder: Path, name: str | None) -> Path | None:
    """The file called ``name`` below ``folder``; None when it is missing or leads out of it."""
    if not name:
        return None
    try:
        path = (folder / name).resolve()
        found = path.is_file() and path.is_relative_to(folder.resolve())
    except (OSError, ValueError):
        return None
    return path if found else None
