"""A finished job in one file, to carry between machines."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from rnp_core.errors import JobError
from rnp_core.jobs.records import RESULT_NAMES, result_facts
from rnp_core.jobs.store import JobStore
from rnp_core.jobs.types import DISPOSITIONS, GIB, Disposition
from rnp_core.request import ScanRequest

FORMAT = "rnp-run"
_RECORD = "job.json"
_FOLDER = "run"
_SUFFIXES = (".json", ".png", ".safetensors", ".npz", ".csv", ".html", ".pdf", ".md", ".txt")
_MOST_FILES, _MOST_BYTES, _MOST_RECORD = 20_000, 8 * GIB, 1 << 20


def write_archive(store: JobStore, job_id: str, archive: Path) -> None:
    """Write a finished job; the file appears whole or not at all.

    Raises:
        JobError: when the job is not done, its files are gone, or the file cannot be written.
    """
    job = store.get(job_id)
    if job.state != "done" or not (job.run_folder / RESULT_NAMES[job.kind]).is_file():
        raise JobError(f"expected a finished job with its files, job {job_id} is {job.state}")
    record = {
        "format": FORMAT,
        "version": 1,
        "id": job.id,
        "title": job.title,
        "kind": job.kind,
        "request": {**job.request.to_dict(), "out": ""},
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
                if file.is_file() and not file.is_symlink():
                    name = file.relative_to(job.run_folder).as_posix()
                    target.write(file, f"{_FOLDER}/{name}")
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
    staging = Path(tempfile.mkdtemp(dir=store.home.work, prefix="import-"))
    try:
        with zipfile.ZipFile(archive) as source:
            record = _record(source)
            _extract(source, staging)
        facts = result_facts(record["kind"], staging / _FOLDER)
        _insert(store, record, facts, staging / _FOLDER)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, RuntimeError) as error:
        raise JobError(f"{archive} is no exported scan: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
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
    texts = ("id", "title", "created_at", "checkpoint_sha256", "checkpoint_name", "settings_key")
    if any(not isinstance(record[name], str) for name in texts):
        raise JobError("expected texts in the record of the job")
    job_id = record["id"]
    if not (8 <= len(job_id) <= 64 and all(c in "0123456789abcdef" for c in job_id)):
        raise JobError(f"expected an id of hexadecimal digits, got {job_id[:80]!r}")
    return record


def _extract(source: zipfile.ZipFile, staging: Path) -> None:
    """Plain files of a run folder, within limits that hold for what is really unpacked."""
    members = [m for m in source.infolist() if not m.is_dir() and m.filename != _RECORD]
    if len(members) > _MOST_FILES:
        raise JobError(f"expected at most {_MOST_FILES} files, got {len(members)}")
    left = _MOST_BYTES
    for member in members:
        name = PurePosixPath(member.filename)
        plain = name.parts[:1] == (_FOLDER,) and ".." not in name.parts
        if not plain or "\\" in member.filename or name.suffix not in _SUFFIXES:
            raise JobError(f"expected files of a report, got {member.filename[:200]!r}")
        target = staging.joinpath(*name.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open(member) as data, target.open("xb") as file:
            while block := data.read(1 << 20):
                left -= len(block)
                if left < 0:
                    raise JobError(f"expected at most {_MOST_BYTES // GIB} GiB of files")
                file.write(block)


def _insert(store: JobStore, record: dict[str, Any], facts: dict[str, Any], folder: Path) -> None:
    request = ScanRequest.from_dict(record["request"])
    decisions = [Disposition(**entry) for entry in record["dispositions"]]
    if any(d.disposition not in DISPOSITIONS for d in decisions):
        raise JobError("expected known decisions in the record of the job")
    job_id = record["id"]
    target = store.home.run_folder(job_id)
    with store.database.transaction():
        if store.has(job_id):
            raise JobError(f"job {job_id} is here already")
        store.insert(
            {
                **{name: record[name] for name in _COPIED},
                "state": "done",
                "fraction": 1.0,
                "request": json.dumps(request.to_dict()),
                "run_folder": os.path.join("runs", job_id),  # noqa: PTH118 (relative to the home)
                "verdict": facts.get("verdict"),
                "backdoor_score": facts["backdoor_score"],
                "suspected_target_labels": json.dumps(list(facts["suspected_target_labels"])),
            }
        )
        store.set_tags(job_id, [*(str(tag) for tag in record["tags"]), "imported"])
        for decision in decisions:
            store.add_disposition(job_id, decision)
        store.note(job_id, "done")
        shutil.rmtree(target, ignore_errors=True)
        folder.replace(target)


_COPIED = (
    "id", "title", "kind", "created_at", "started_at", "finished_at", "checkpoint_sha256",
    "checkpoint_name", "settings_key",
)
