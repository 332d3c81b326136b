"""Scan requests: from chosen files, of a demo model, and as the command line that repeats one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from rnp_core import DataError, DemoModel, Job, ScanRequest, list_demos

IMPORTED = "imported"
"""Tag of scans that came as a file; it stays with them."""

AGAIN = "again:"
"""Beginning of the tag that scans of the same files with other presets and seeds share."""

_ANYWHERE = "run"
"""``out`` of a request for the queue, which chooses the folder itself."""


def make_request(
    checkpoint: Path | str, clean: Path | str | None, suspects: Path | str | None, **settings: Any
) -> ScanRequest:
    """A request for the queue.

    Args:
        settings: further fields of :class:`rnp_core.ScanRequest`.

    Raises:
        DataError: when the architecture names a file; code is never taken from a browser.
        ConfigError: when a setting is not what it should be.
    """
    arch = settings.get("arch") or ""
    if ".py" in arch or ":" in arch:
        raise DataError("expected the name of an architecture; code is not taken from here")
    return ScanRequest(
        checkpoint=str(checkpoint), clean=str(clean) if clean else None, out=_ANYWHERE,
        suspects=str(suspects) if suspects else None, **settings,
    )


def check_settings(settings: dict[str, Any]) -> None:
    """Check settings before there are files.

    Raises:
        DataError, ConfigError: see :func:`make_request`.
    """
    make_request("none", None, None, **settings)


def demo_request(demo: DemoModel) -> ScanRequest:
    """The scan of a demo model with its own images."""
    return make_request(demo.checkpoint, demo.clean, demo.suspects)


def is_imported(job: Job) -> bool:
    """Whether a scan came as a file: its paths, and the code that it may name, are a stranger's
    words and are never followed."""
    return IMPORTED in job.tags


def has_files(job: Job) -> bool:
    """Whether the files of a scan are still where they were; an imported scan has none."""
    request = job.request
    return not is_imported(job) and all(
        Path(path).exists() for path in (request.checkpoint, request.clean, request.suspects)
        if path)


def again_tag(job: Job) -> str:
    """The tag that a scan shares with those of the same files, see :data:`AGAIN`."""
    return next((tag for tag in job.tags if tag.startswith(AGAIN)), f"{AGAIN}{job.id}")


def class_names(request: ScanRequest) -> list[str]:
    """Names of the classes as far as they are known before the model was read."""
    if request.class_names:
        return list(request.class_names)
    for demo in list_demos():
        if str(demo.checkpoint) == request.checkpoint:
            return list(demo.card.get("class_names", ()))
    return []


def command(request: ScanRequest) -> str:
    """The command line that does the same scan; ``NEW_FOLDER`` and ``NAMES_FILE`` are to be filled
    in."""
    parts = ["rnp", "scan", request.checkpoint, "--out", "NEW_FOLDER", "--preset", request.preset,
             "--seed", str(request.seed)]
    for option, value in (
        ("--clean", request.clean), ("--suspects", request.suspects), ("--arch", request.arch),
        ("--num-classes", request.num_classes),
        ("--mean", ",".join(map(str, request.mean)) if request.mean else None),
        ("--std", ",".join(map(str, request.std)) if request.std else None),
        ("--threads", request.threads),
    ):
        if value is not None:
            parts += [option, str(value)]
    for option, name in (
        ("--normalization", request.normalization), ("--device", request.device),
        ("--precision", request.precision),
    ):
        if name != "auto":
            parts += [option, name]
    for limit in request.limits or ():
        parts += ["--limit", limit]
    if not request.repair:
        parts.append("--no-repair")
    if request.class_names:
        parts += ["--class-names", "NAMES_FILE"]
    return " ".join(shlex.quote(part) for part in parts)
