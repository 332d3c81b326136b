"""A finished job in one file, to carry between machines."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import tempfile
import zipfile
import zlib
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from rnp_core.errors import JobError, RnpError
from rnp_core.jobs.records import RESULT_NAMES, result_facts
from rnp_core.jobs.store import JobStore
from rnp_core.jobs.types import DISPOSITIONS, GIB, Disposition
from rnp_core.request import ScanRequest

FORMAT = "rnp-run"
_RECORD = "job.json"
_FOLDER = "run"
_SUFFIXES = (
    ".json", ".png", ".safetensors", ".npz", ".csv", ".html", ".pdf", ".md", ".txt", ".minisig",
)
_MOST_FILES, _MOST_BYTES, _MOST_RECORD = 20_000, 8 * GIB, 1 << 20
_TEXTS = ("id", "title", "created_at", "checkpoint_sha256", "checkpoint_name", "settings_key")
_TIMES = ("started_at", "finished_at")
_UNREADABLE = (
    ValueError, KeyError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error,
    RnpError,
)


def write_archive(store: JobStore, job_id: str, archive: Path) -> None:
    """Write a finished job; the file appears whole or not at all.

    Files of kinds that no report has are left out, as :func:`read_archive` would refuse them.

    Raises:
        JobError: when the job is not done, its files are gone, or the file cannot be written.
    """
    job = store.get(job_id)
    if job.state != "done":
        raise JobError(f"expected a finished job, job {job_id} is {job.state}")
    if not (job.run_folder / RESULT_NAMES[job.kind]).is_file():
        raise JobError(f"the files of job {job_id} are gone from {job.run_folder}")
    record = {
        "format": FORMAT,
        "version": 1,
        "id": job.id,
        "title": job.title,
        "kind": job.kind,
        "request": {**job.request.to_dict(), "out": _FOLDER},
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "checkpoint_sha256": job.checkpoint_sha256,
        "checkpoint_name": job.checkpoint_name,
        "settings_key": job.settings_key,
        "tags": job.tags,
        "dispositions": [vars(d) for d in store.dispositions(job_id)],
    }
    temporary = archive.with_name(f".{archive.name}.{secrets.token_hex(4)}")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as target:
            target.writestr(_RECORD, json.dumps(record, indent=1))
            for file in sorted(job.run_folder.rglob("*")):
                name = PurePosixPath(_FOLDER, file.relative_to(job.run_folder).as_posix())
                if file.is_file() and not file.is_symlink() and _is_of_a_report(str(name)):
                    target.write(file, str(name))
        temporary.replace(archive)
    except OSError as error:
        raise JobError(f"cannot write {archive}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_archive(store: JobStore, archive: Path) -> str:
    """Add the job in ``archive`` to the history; returns its id, which it keeps.

    Raises:
        JobError: when it is no such file, breaks a limit, or the job is here already.
    """
    try:
        with tempfile.TemporaryDirectory(dir=store.home.work, prefix="import-") as staging:
            return _take_in(store, archive, Path(staging))
    except OSError as error:
        raise JobError(f"cannot import {archive}: {error.strerror or error}") from error


def _take_in(store: JobStore, archive: Path, staging: Path) -> str:
    folder = staging / _FOLDER
    try:
        with zipfile.ZipFile(archive) as source:
            record = _record(source)
            _extract(source, staging)
        facts = result_facts(record["kind"], folder)
        decisions = [_decision(entry) for entry in record["dispositions"]]
        request = ScanRequest.from_dict({**record["request"], "out": _FOLDER})
    except _UNREADABLE as error:
        raise JobError(f"{archive} is no exported scan: {error}") from error
    _insert(store, record, request, facts, decisions, folder)
    return record["id"]


def _record(source: zipfile.ZipFile) -> dict[str, Any]:
    if source.getinfo(_RECORD).file_size > _MOST_RECORD:
        raise JobError("the record of the job is too large")
    record = json.loads(source.read(_RECORD))
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise JobError(f"expected a file of the format {FORMAT}")
    if record["version"] != 1:
        raise JobError(f"expected version 1 of the format, got {record['version']!r}")
    if record["kind"] not in RESULT_NAMES:
        raise JobError(f"expected a kind among {', '.join(RESULT_NAMES)}")
    tags = record["tags"]
    texts = [*(record[name] for name in _TEXTS), *(tags if isinstance(tags, list) else [None])]
    if not all(isinstance(text, str) for text in texts):
        raise JobError("expected texts in the record of the job")
    for moment in (record["created_at"], *(record[name] for name in _TIMES)):
        if moment is not None:
            datetime.fromisoformat(moment)
    for name, least in (("id", 8), ("checkpoint_sha256", 64)):
        value = record[name]
        if not (least <= len(value) <= 64 and all(c in "0123456789abcdef" for c in value)):
            raise JobError(f"expected hexadecimal digits as {name}, got {value[:80]!r}")
    return record


def _decision(entry: Any) -> Disposition:
    decision = Disposition(**entry)
    if decision.disposition not in DISPOSITIONS:
        raise JobError("expected known decisions in the record of the job")
    if not (isinstance(decision.reviewer, str) and isinstance(decision.note, str)):
        raise JobError("expected texts in the decisions about the job")
    datetime.fromisoformat(decision.time)
    return decision


def _extract(source: zipfile.ZipFile, staging: Path) -> None:
    """Plain files of a run folder, within limits that hold for what is really unpacked."""
    members = [m for m in source.infolist() if not m.is_dir() and m.filename != _RECORD]
    if len(members) > _MOST_FILES:
        raise JobError(f"expected at most {_MOST_FILES} files, got {len(members)}")
    left = _MOST_BYTES
    for member in members:
        if not _is_of_a_report(member.filename):
            raise JobError(f"expected files of a report, got {member.filename[:200]!r}")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise JobError(f"expected stored or deflated files, got {member.compress_type}")
        target = staging / member.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open(member) as data, target.open("xb") as file:
            while block := data.read(1 << 20):
                left -= len(block)
                if left < 0:
                    raise JobError(f"expected at most {_MOST_BYTES // GIB} GiB of files")
                file.write(block)


def _is_of_a_report(name: str) -> bool:
    """Whether a member of an archive is a plain file of a run folder, and leads nowhere else."""
    path = PurePosixPath(name)
    plain = path.parts[:1] == (_FOLDER,) and ".." not in path.parts and "\\" not in name
    return plain and path.suffix in _SUFFIXES


def _insert(
    store: JobStore,
    record: dict[str, Any],
    request: ScanRequest,
    facts: dict[str, Any],
    decisions: list[Disposition],
    folder: Path,
) -> None:
    job_id = record["id"]
    target = store.home.run_folder(job_id)
    with store.database.transaction():
        if store.has(job_id):
            raise JobError(f"job {job_id} is here already")
        store.insert(
            {
                **{name: record[name] for name in (*_TEXTS, *_TIMES, "kind")},
                "state": "done",
                "fraction": 1.0,
                "request": json.dumps(request.to_dict()),
                "run_folder": os.path.join("runs", job_id),  # noqa: PTH118 (relative to the home)
                "verdict": facts.get("verdict"),
                "backdoor_score": facts["backdoor_score"],
                "suspected_target_labels": json.dumps(list(facts["suspected_target_labels"])),
                "file_severity": facts["file_severity"],
            }
        )
        store.set_tags(job_id, [*record["tags"], "imported"])
        for decision in decisions:
            store.add_disposition(job_id, decision)
        store.note(job_id, "done")
        shutil.rmtree(target, ignore_errors=True)
        folder.replace(target)
