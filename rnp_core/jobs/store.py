"""Reading and writing jobs: every change of state is one guarded statement."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rnp_core.errors import JobError
from rnp_core.jobs.database import Database
from rnp_core.jobs.home import Home
from rnp_core.jobs.types import Disposition, Job, JobEvent, JobKind, JobState
from rnp_core.progress import Progress
from rnp_core.report import Verdict
from rnp_core.request import ScanRequest

_JOB = """
SELECT jobs.*,
    (SELECT json_group_array(tag) FROM tags WHERE job = jobs.id) AS tags,
    (SELECT json_object('disposition', disposition, 'reviewer', reviewer, 'note', note,
                        'time', time)
     FROM dispositions WHERE job = jobs.id ORDER BY number DESC LIMIT 1) AS decision
FROM jobs
"""


@dataclass(frozen=True)
class JobFilter:
    """Which jobs to list; what is None or empty does not matter."""

    state: JobState | None = None
    text: str = ""
    tag: str | None = None
    verdict: Verdict | None = None
    sha256: str | None = None
    kind: JobKind | None = None

    def where(self) -> tuple[str, list[Any]]:
        """The condition and its values."""
        parts, values = ["1"], []
        for column in ("state", "verdict", "kind"):
            if (value := getattr(self, column)) is not None:
                parts.append(f"{column} = ?")
                values.append(value)
        if self.sha256:
            parts.append("checkpoint_sha256 GLOB ?")
            values.append("".join(c for c in self.sha256.lower() if c in "0123456789abcdef") + "*")
        if self.tag is not None:
            parts.append("id IN (SELECT job FROM tags WHERE tag = ?)")
            values.append(self.tag)
        for word in self.text.split():
            safe = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            parts.append(
                "(title LIKE ? ESCAPE '\\' OR checkpoint_name LIKE ? ESCAPE '\\' "
                "OR checkpoint_sha256 LIKE ? ESCAPE '\\' OR id IN "
                "(SELECT job FROM tags WHERE tag LIKE ? ESCAPE '\\'))"
            )
            values += [f"%{safe}%", f"%{safe}%", f"{safe}%", f"%{safe}%"]
        return " AND ".join(parts), values


class JobStore:
    """The jobs in the table of a home."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.database = Database(home.database)

    # --- reading -------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            JobError: when there is none of this id.
        """
        rows = self.database.rows(_JOB + "WHERE id = ?", (job_id,))
        if not rows:
            raise JobError(f"there is no job {job_id!r}")
        return self._job(rows[0])

    def has(self, job_id: str) -> bool:
        """Whether there is such a job."""
        return bool(self.database.rows("SELECT 1 FROM jobs WHERE id = ?", (job_id,)))

    def find(self, which: JobFilter, *, limit: int, offset: int = 0) -> list[Job]:
        """Jobs, the newest first."""
        condition, values = which.where()
        rows = self.database.rows(
            f"{_JOB} WHERE {condition} ORDER BY number DESC LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return [self._job(row) for row in rows]

    def count(self, which: JobFilter) -> int:
        """How many jobs there are."""
        condition, values = which.where()
        return self.database.rows(f"SELECT count(*) FROM jobs WHERE {condition}", values)[0][0]

    def same(self, sha256: str, settings_key: str, kind: JobKind) -> list[Job]:
        """Jobs with the same checkpoint and settings, the newest first."""
        rows = self.database.rows(
            _JOB + "WHERE checkpoint_sha256 = ? AND settings_key = ? AND kind = ? "
            "ORDER BY number DESC",
            (sha256, settings_key, kind),
        )
        return [self._job(row) for row in rows]

    def position(self, job_id: str) -> int | None:
        """Place in the queue, 1 for the next; None when the job does not wait."""
        rows = self.database.rows(
            "SELECT 1 + (SELECT count(*) FROM jobs WHERE state = 'queued' AND "
            "(priority > me.priority OR (priority = me.priority AND number < me.number))) "
            "FROM jobs AS me "
            "WHERE id = ? AND state = 'queued'",
            (job_id,),
        )
        return rows[0][0] if rows else None

    def events(self, job_id: str, *, after: int) -> list[JobEvent]:
        """Progress after the event ``after``, in order."""
        rows = self.database.rows(
            "SELECT * FROM events WHERE job = ? AND seq > ? ORDER BY seq", (job_id, after)
        )
        return [
            JobEvent(
                row["seq"], row["time"], row["stage"], row["step"], row["total"], row["message"],
                json.loads(row["numbers"]),
            )
            for row in rows
        ]

    def dispositions(self, job_id: str) -> list[Disposition]:
        """Every decision about a job, the first one first."""
        rows = self.database.rows(
            "SELECT disposition, reviewer, note, time FROM dispositions WHERE job = ? "
            "ORDER BY number",
            (job_id,),
        )
        return [Disposition(*row) for row in rows]

    # --- the life of a job ---------------------------------------------------------------------

    def add(
        self,
        job_id: str,
        request: ScanRequest,
        *,
        kind: JobKind,
        title: str,
        sha256: str,
        name: str,
        settings_key: str,
        priority: float,
        tags: Sequence[str],
        queue_length: int,
    ) -> None:
        """Put a new job into the queue.

        Raises:
            JobError: when the queue is full.
        """
        with self.database.transaction():
            waiting = self.count(JobFilter(state="queued"))
            if waiting >= queue_length:
                raise JobError(
                    f"the queue is full: {waiting} jobs wait and at most {queue_length} may; "
                    "wait, cancel some, or raise the limit queue_length"
                )
            self.database.change(
                "INSERT INTO jobs (id, title, kind, state, request, run_folder, created_at, "
                "checkpoint_sha256, checkpoint_name, settings_key, priority) "
                "VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?)",
                (
                    job_id, title, kind, json.dumps(request.to_dict()), self._stored(request.out),
                    now(), sha256, name, settings_key, priority,
                ),
            )
            self.set_tags(job_id, tags)
            self.note(job_id, "queued")

    def claim(self, owner: str, place: str, capacity: int) -> Job | None:
        """Take the next waiting job unless ``place`` runs ``capacity`` already."""
        with self.database.transaction():
            busy = self.database.rows(
                "SELECT count(*) FROM jobs WHERE state = 'running' AND place = ?", (place,)
            )[0][0]
            rows = self.database.rows(
                "SELECT id FROM jobs WHERE state = 'queued' ORDER BY priority DESC, number LIMIT 1"
            )
            if busy >= capacity or not rows:
                return None
            return self.take(rows[0][0], owner, place)

    def take(self, job_id: str, owner: str, place: str) -> Job | None:
        """Make a waiting job this owner's; None when it does not wait any more."""
        with self.database.transaction():
            taken = self.database.change(
                "UPDATE jobs SET state = 'running', owner = ?, place = ?, started_at = ?, "
                "finished_at = NULL, error = '', stage = '', fraction = 0, cancel_requested = 0, "
                "attempts = attempts + 1 WHERE id = ? AND state = 'queued'",
                (owner, place, now(), job_id),
            )
            if not taken:
                return None
            self.note(job_id, "running")
            return self.get(job_id)

    def progress(
        self, job_id: str, events: Sequence[tuple[float, Progress]], *, fraction: float
    ) -> None:
        """Store progress reports of a running job; of one that ended, nothing."""
        if not events:
            return
        with self.database.transaction():
            running = self.database.change(
                "UPDATE jobs SET stage = ?, fraction = max(fraction, ?) "
                "WHERE id = ? AND state = 'running'",
                (events[-1][1].stage, fraction, job_id),
            )
            if running:
                self._append(job_id, events)

    def finish(
        self,
        job_id: str,
        state: JobState,
        *,
        owner: str | None,
        error: str = "",
        facts: Mapping[str, Any] | None = None,
    ) -> bool:
        """End a running job of this owner (None: of any).

        Args:
            facts: ``verdict``, ``backdoor_score`` and ``suspected_target_labels``, for "done".

        Returns:
            False when it had ended already or belongs to somebody else.
        """
        facts = facts or {}
        with self.database.transaction():
            ended = self.database.change(
                "UPDATE jobs SET state = ?, error = ?, finished_at = ?, owner = NULL, "
                "place = NULL, cancel_requested = 0, "
                "fraction = CASE ? WHEN 'done' THEN 1 ELSE fraction END, "
                "verdict = ?, backdoor_score = ?, suspected_target_labels = ? "
                "WHERE id = ? AND state = 'running' AND owner = coalesce(?, owner)",
                (
                    state, error, now(), state, facts.get("verdict"), facts.get("backdoor_score"),
                    json.dumps(list(facts.get("suspected_target_labels", ()))), job_id, owner,
                ),
            )
            if ended:
                self.note(job_id, state)
        return bool(ended)

    def request_cancel(self, job_id: str) -> None:
        """Cancel a waiting job at once, and ask the owner of a running one to."""
        with self.database.transaction():
            waiting = self.database.change(
                "UPDATE jobs SET state = 'cancelled', finished_at = ?, error = 'cancelled' "
                "WHERE id = ? AND state = 'queued'",
                (now(), job_id),
            )
            if waiting:
                self.note(job_id, "cancelled")
                return
            self.database.change(
                "UPDATE jobs SET cancel_requested = 1 WHERE id = ? AND state = 'running'", (job_id,)
            )

    def cancel_requests(self, owner: str) -> list[str]:
        """Running jobs of this owner that somebody wants cancelled."""
        rows = self.database.rows(
            "SELECT id FROM jobs WHERE state = 'running' AND owner = ? AND cancel_requested",
            (owner,),
        )
        return [row[0] for row in rows]

    def requeue(self, job_id: str) -> bool:
        """Put a job that ended without a result into the queue again."""
        with self.database.transaction():
            waiting = self.database.change(
                "UPDATE jobs SET state = 'queued', error = '', finished_at = NULL, fraction = 0, "
                "stage = '', run_folder = ? "
                "WHERE id = ? AND state IN ('failed', 'cancelled', 'interrupted')",
                (self._stored(str(self.home.run_folder(job_id))), job_id),
            )
            if waiting:
                self.note(job_id, "queued")
        return bool(waiting)

    def waiting(self) -> bool:
        """Whether any job waits."""
        return bool(self.database.rows("SELECT 1 FROM jobs WHERE state = 'queued' LIMIT 1"))

    def running(self) -> list[tuple[str, str]]:
        """Job and owner of everything that runs."""
        rows = self.database.rows("SELECT id, owner FROM jobs WHERE state = 'running'")
        return [(row[0], row[1] or "") for row in rows]

    def remove(self, job_id: str) -> None:
        """Forget a job that is not running.

        Raises:
            JobError: when it runs.
        """
        removed = self.database.change(
            "DELETE FROM jobs WHERE id = ? AND state != 'running'", (job_id,)
        )
        if not removed and self.get(job_id).state == "running":
            raise JobError(f"job {job_id} is running; cancel it first")

    # --- notes of people -----------------------------------------------------------------------

    def set_tags(self, job_id: str, tags: Sequence[str]) -> None:
        """Replace the tags of a job."""
        with self.database.transaction():
            self.database.change("DELETE FROM tags WHERE job = ?", (job_id,))
            rows = [(job_id, tag) for tag in dict.fromkeys(t.strip() for t in tags) if tag]
            self.database.change_many("INSERT INTO tags VALUES (?, ?)", rows)

    def add_disposition(self, job_id: str, decision: Disposition) -> None:
        """Append a decision; earlier ones stay."""
        self.database.change(
            "INSERT INTO dispositions (job, disposition, reviewer, note, time) "
            "VALUES (?, ?, ?, ?, ?)",
            (job_id, decision.disposition, decision.reviewer, decision.note, decision.time),
        )

    def note(self, job_id: str, state: str) -> None:
        """Write a change of state among the events."""
        self._append(job_id, [(time.time(), Progress("job", 0, 0, state))])

    def insert(self, values: Mapping[str, Any]) -> None:
        """Insert a finished job as it is, for imports; the keys are columns of the table."""
        columns = ", ".join(values)
        marks = ", ".join("?" for _ in values)
        self.database.change(f"INSERT INTO jobs ({columns}) VALUES ({marks})", [*values.values()])

    # --- inside --------------------------------------------------------------------------------

    def _append(self, job_id: str, events: Sequence[tuple[float, Progress]]) -> None:
        start = self.database.rows(
            "SELECT coalesce(max(seq), 0) FROM events WHERE job = ?", (job_id,)
        )[0][0]
        rows = [
            (job_id, start + 1 + i, moment, p.stage, p.step, p.total, p.message,
             json.dumps(dict(p.values)))
            for i, (moment, p) in enumerate(events)
        ]
        self.database.change_many("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _stored(self, folder: str) -> str:
        """A run folder as the table holds it: homes may be moved."""
        path = Path(folder)
        inside = path.is_relative_to(self.home.root)
        return str(path.relative_to(self.home.root)) if inside else str(path)

    def _job(self, row: sqlite3.Row) -> Job:
        folder = self.home.root / row["run_folder"]
        request = {**json.loads(row["request"]), "out": str(folder)}
        return Job(
            id=row["id"],
            title=row["title"],
            kind=row["kind"],
            state=row["state"],
            stage=row["stage"],
            fraction=row["fraction"],
            request=ScanRequest.from_dict(request),
            run_folder=folder,
            error=row["error"],
            created_at=row["created_at"],
            started_at=row["started_at"],
            finished_at=row["finished_at"],
            checkpoint_sha256=row["checkpoint_sha256"],
            checkpoint_name=row["checkpoint_name"],
            settings_key=row["settings_key"],
            verdict=row["verdict"],
            backdoor_score=row["backdoor_score"],
            suspected_target_labels=tuple(json.loads(row["suspected_target_labels"])),
            attempts=row["attempts"],
            priority=row["priority"],
            tags=tuple(json.loads(row["tags"])),
            disposition=Disposition(**json.loads(row["decision"])) if row["decision"] else None,
        )


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
