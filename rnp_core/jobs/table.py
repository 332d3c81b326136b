"""Reading the table of jobs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from rnp_core.errors import JobError
from rnp_core.jobs.database import Database
from rnp_core.jobs.home import Home
from rnp_core.jobs.job_filter import JobFilter
from rnp_core.jobs.types import Disposition, Job, JobEvent, JobKind, JobState
from rnp_core.request import ScanRequest

_JOB = """
SELECT jobs.*,
    (SELECT json_group_array(tag) FROM tags WHERE job = jobs.id) AS tags,
    (SELECT json_object('disposition', disposition, 'reviewer', reviewer, 'note', note,
                        'time', time)
     FROM dispositions WHERE job = jobs.id ORDER BY number DESC LIMIT 1) AS decision
FROM jobs
"""


class JobTable:
    """The jobs of a home, to look at."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.database = Database(home.database)

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

    def current(self, sha256: str, settings_key: str, kind: JobKind) -> Job | None:
        """A job with the same checkpoint and settings whose result is there, or else under way."""
        same = self.same(sha256, settings_key, kind)
        done = [job for job in same if job.state == "done" and job.run_folder.is_dir()]
        under_way = [job for job in same if job.state in ("queued", "running")]
        return next(iter(done + under_way), None)

    def states(self, job_ids: Sequence[str]) -> dict[str, JobState]:
        """The states of many jobs at once; jobs that were deleted are missing."""
        rows = self.database.rows(
            "SELECT id, state FROM jobs WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(job_ids)),),
        )
        return {row["id"]: row["state"] for row in rows}

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

    def waiting(self) -> bool:
        """Whether any job waits."""
        return bool(self.database.rows("SELECT 1 FROM jobs WHERE state = 'queued' LIMIT 1"))

    def running(self) -> set[str]:
        """The jobs that run."""
        return set(self._column("SELECT id FROM jobs WHERE state = 'running'"))

    def owners(self) -> set[str]:
        """Whoever runs jobs."""
        rows = self.database.rows("SELECT DISTINCT owner FROM jobs WHERE state = 'running'")
        return {row[0] or "" for row in rows}

    def owned(self, owner: str) -> list[str]:
        """The jobs that ``owner`` runs."""
        return self._column(
            "SELECT id FROM jobs WHERE state = 'running' AND coalesce(owner, '') = ?", (owner,)
        )

    def cancel_requests(self, owner: str) -> list[str]:
        """Running jobs of this owner that somebody wants cancelled."""
        return self._column(
            "SELECT id FROM jobs WHERE state = 'running' AND owner = ? AND cancel_requested",
            (owner,),
        )

    def _column(self, query: str, values: tuple[str, ...] = ()) -> list[str]:
        return [row[0] for row in self.database.rows(query, values)]

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
            file_severity=row["file_severity"],
            attempts=row["attempts"],
            priority=row["priority"],
            tags=tuple(json.loads(row["tags"])),
            disposition=Disposition(**json.loads(row["decision"])) if row["decision"] else None,
        )
