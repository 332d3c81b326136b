"""Turning what came of an attempt into the record of its job."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from rnp_core.errors import JobError, RnpError
from rnp_core.isolation import read_left_report
from rnp_core.jobs.attempt import Order, Outcome
from rnp_core.jobs.store import JobStore
from rnp_core.jobs.transfer import unpack
from rnp_core.jobs.types import Job, JobKind
from rnp_core.progress import Progress
from rnp_core.report import Severity
from rnp_core.scan_clock import finished_fraction

RESULT_NAMES: dict[JobKind, str] = {"scan": "report.json", "triage": "triage.json"}
"""The file that makes a run folder whole."""


def attempt_folder(store: JobStore, job_id: str, attempt: int) -> Path:
    """Where an attempt writes its run folder; nobody else does."""
    return store.home.work_folder(job_id) / f"attempt-{attempt}" / "run"


def record_events(store: JobStore, job_id: str, events: list[tuple[float, Progress]]) -> None:
    """Store progress."""
    store.progress(job_id, events, fraction=max(finished_fraction(p) for _, p in events))


def record_outcome(store: JobStore, order: Order, outcome: Outcome, *, owner: str) -> None:
    """Move a finished run folder to its place and end the job.

    Raises:
        JobError: when the disk or the table does not take it; call again later.
    """
    job = store.get(order.job)
    if outcome.state == "done":
        made = Path(order.request["out"])
        if outcome.folder is not None and not made.exists():
            made.parent.mkdir(parents=True, exist_ok=True)
            unpack(outcome.folder, made.parent)
        _finish_whole(store, job, made, owner=owner)
    elif outcome.state == "lost":
        settle_lost(store, job.id, owner=owner, error=outcome.error)
    else:
        _drop_attempts(store, job)
        store.finish(job.id, outcome.state, owner=owner, error=outcome.error)


def settle_lost(store: JobStore, job_id: str, *, owner: str, error: str) -> None:
    """End a job that nobody runs any more: done where its result is whole, cancelled where that
    was wanted, else interrupted."""
    job = store.get(job_id)
    for folder in (attempt_folder(store, job_id, job.attempts), job.run_folder):
        if _is_left_by(job, folder, inside=folder.is_relative_to(store.home.root)):
            _finish_whole(store, job, folder, owner=owner)
            return
    _drop_attempts(store, job)
    with store.database.transaction():
        if job_id in store.cancel_requests(owner):  # somebody wanted its end
            store.finish(job_id, "cancelled", owner=owner, error="cancelled")
        else:
            store.finish(job_id, "interrupted", owner=owner, error=error)


def _is_left_by(job: Job, folder: Path, *, inside: bool) -> bool:
    """Whether the result in ``folder`` is whole and that of the job's last attempt: a folder that a
    user named (not ``inside`` the home) may hold an earlier scan."""
    if not (folder / RESULT_NAMES[job.kind]).is_file():
        return False
    try:
        _facts_of(job, folder)
        if inside:
            return True
        made = datetime.fromisoformat(read_left_report(folder).created_at)
        return made >= datetime.fromisoformat(str(job.started_at)).replace(microsecond=0)
    except (RnpError, ValueError, TypeError):
        return False


def _finish_whole(store: JobStore, job: Job, made: Path, *, owner: str) -> None:
    try:
        facts = _facts_of(job, made if made.exists() else job.run_folder)
    except RnpError as error:
        _drop_attempts(store, job)
        store.finish(job.id, "failed", owner=owner, error=str(error))
        return
    if made.exists() and made != job.run_folder:
        try:
            shutil.rmtree(job.run_folder, ignore_errors=True)
            job.run_folder.parent.mkdir(parents=True, exist_ok=True)
            made.replace(job.run_folder)
        except OSError as error:
            raise JobError(
                f"cannot move the report to {job.run_folder}: {error.strerror}"
            ) from error
    shutil.rmtree(store.home.work_folder(job.id), ignore_errors=True)
    store.finish(job.id, "done", owner=owner, facts=facts)


def _drop_attempts(store: JobStore, job: Job) -> None:
    """Remove what attempts left; results of finished stages stay for the next attempt."""
    for folder in store.home.work_folder(job.id).glob("attempt-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _facts_of(job: Job, folder: Path) -> dict[str, Any]:
    """:func:`result_facts` of the checkpoint that was submitted.

    Raises:
        RnpError: when there are none, or the result is of another file.
    """
    facts = result_facts(job.kind, folder)
    if facts["sha256"] != job.checkpoint_sha256:
        raise JobError(
            f"the checkpoint changed after the scan was submitted: expected sha256 "
            f"{job.checkpoint_sha256[:12]}..., read {str(facts['sha256'])[:12]}...; submit it again"
        )
    return facts


def result_facts(kind: JobKind, folder: Path) -> dict[str, Any]:
    """What the table keeps of a result, and the digest of the checkpoint that was read.

    Raises:
        RnpError: when there is none that can be read.
    """
    if kind == "scan":
        report = read_left_report(folder)
        return {
            "verdict": report.verdict,
            "backdoor_score": report.backdoor_score,
            "suspected_target_labels": report.suspected_target_labels,
            "file_severity": _worst(report.model.findings),
            "sha256": report.model.sha256,
        }
    path = folder / RESULT_NAMES[kind]
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {
            "backdoor_score": float(data["score"]),
            "suspected_target_labels": [int(label) for label in data["labels"]],
            "file_severity": _worst(data["findings"]),
            "sha256": data["sha256"],
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise JobError(f"the triage left no readable result at {path}: {error}") from error


def _worst(findings: list[dict[str, Any]]) -> str:
    """Severity of the worst finding; what a child wrote is not trusted to be one."""
    found = [str(finding.get("severity")) for finding in findings]
    return next((severity for severity in reversed(get_args(Severity)) if severity in found), "")
