"""Changing jobs: every change of state is one guarded statement."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rnp_core.errors import JobError
from rnp_core.jobs.identity import Identity
from rnp_core.jobs.job_filter import JobFilter
from rnp_core.jobs.table import JobTable
from rnp_core.jobs.types import Disposition, Job, JobKind, JobState
from rnp_core.progress import Progress
from rnp_core.request import ScanRequest


class JobStore(JobTable):
    """The jobs of a home, to look at and to change."""

    # --- the life of a job ---------------------------------------------------------------------

    def add(
        self,
        job_id: str,
        request: ScanRequest,
        identity: Identity,
        *,
        kind: JobKind,
        title: str,
        priority: float,
        tags: Sequence[str],
        queue_length: int | None,
        once: bool = False,
    ) -> str:
        """Put a new job into the queue and return its id.

        Args:
            queue_length: jobs that may wait; None for a job that will not.
            once: add nothing where there is a :meth:`current` one, and return the id of that.

        Raises:
            JobError: when the queue is full.
        """
        with self.database.transaction():
            if once and (other := self.current(identity.sha256, identity.settings_key, kind)):
                return other.id
            waiting = self.count(JobFilter(state="queued", kind=None))
            if queue_length is not None and waiting >= queue_length:
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
                    now(), identity.sha256, identity.name, identity.settings_key, priority,
                ),
            )
            self.set_tags(job_id, tags)
            self.note(job_id, "queued")
        return job_id

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
        owner: str,
        error: str = "",
        facts: Mapping[str, Any] | None = None,
    ) -> bool:
        """End a running job of this owner.

        Args:
            facts: from :func:`rnp_core.jobs.records.result_facts`, for "done".

        Returns:
            False when it had ended already or belongs to somebody else.
        """
        facts = facts or {}
        with self.database.transaction():
            ended = self.database.change(
                "UPDATE jobs SET state = ?, error = ?, finished_at = ?, owner = NULL, "
                "place = NULL, cancel_requested = 0, "
                "fraction = CASE ? WHEN 'done' THEN 1 ELSE fraction END, "
                "verdict = ?, backdoor_score = ?, suspected_target_labels = ?, file_severity = ? "
                "WHERE id = ? AND state = 'running' AND owner = ?",
                (
                    state, error, now(), state, facts.get("verdict"), facts.get("backdoor_score"),
                    json.dumps(list(facts.get("suspected_target_labels", ()))),
                    facts.get("file_severity", ""), job_id, owner,
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

    def add_tags(self, job_id: str, tags: Sequence[str]) -> None:
        """Add tags to those of a job."""
        rows = [(job_id, tag) for tag in tags]
        self.database.change_many("INSERT OR IGNORE INTO tags VALUES (?, ?)", rows)

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



def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
