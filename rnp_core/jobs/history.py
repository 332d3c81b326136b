"""Looking back at the jobs of a home, deciding about them, and moving them."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from rnp_core.errors import JobError
from rnp_core.jobs.archive import read_archive, write_archive
from rnp_core.jobs.home import open_home
from rnp_core.jobs.identity import Identifier, Identity, absolute
from rnp_core.jobs.job_filter import SCANS, JobFilter
from rnp_core.jobs.quota import Quota
from rnp_core.jobs.reaper import reap
from rnp_core.jobs.store import JobStore, now
from rnp_core.jobs.types import (
    DEFAULT_LIMITS,
    DISPOSITIONS,
    Disposition,
    DispositionName,
    EngineLimits,
    Job,
    JobEvent,
    JobKind,
    JobState,
)
from rnp_core.request import ScanRequest

_Self = TypeVar("_Self", bound="History")


class History:
    """The jobs of one home. Any number of them may be open at once, in one process or many, and
    every method may be called from any thread.

    Args:
        home: folder of the jobs, see :func:`rnp_core.jobs.default_home`; made if need be.
        limits: bounds on the home.

    Raises:
        JobError: when the home cannot be used.
    """

    def __init__(self, home: Path, *, limits: EngineLimits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self._store = JobStore(open_home(home))
        self._identifier = Identifier()
        self._quota = Quota(self._store.home, limits, busy=self._store.running)
        with contextlib.suppress(JobError):  # where the disk is full, room can still be made
            reap(self._store)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the table; no other method works afterwards."""
        self._store.database.close()

    @property
    def home(self) -> Path:
        """The folder of the jobs."""
        return self._store.home.root

    # --- looking -------------------------------------------------------------------------------

    def job(self, job_id: str) -> Job:
        """One job.

        Raises:
            JobError: when there is none of this id.
        """
        return self._store.get(job_id)

    def jobs(
        self, which: JobFilter = SCANS, *, limit: int = 100, offset: int = 0, **fields: Any
    ) -> list[Job]:
        """Jobs, the newest first.

        Args:
            which: all scans by default.
            fields: of :class:`JobFilter`, in place of those of ``which``.
        """
        which = dataclasses.replace(which, **fields)
        return self._store.find(which, limit=limit, offset=offset)

    def count(self, which: JobFilter = SCANS, **fields: Any) -> int:
        """How many jobs :meth:`jobs` would list without a limit."""
        return self._store.count(dataclasses.replace(which, **fields))

    def states(self, job_ids: Sequence[str]) -> dict[str, JobState]:
        """The states of many jobs at once; jobs that were deleted are missing."""
        return self._store.states(job_ids)

    def events(self, job_id: str, *, after: int = 0) -> list[JobEvent]:
        """Progress of a job after the event ``after``, in order."""
        return self._store.events(job_id, after=after)

    def position(self, job_id: str) -> int | None:
        """Place in the queue, 1 for the next; None when the job does not wait."""
        return self._store.position(job_id)

    # --- scanned before? -----------------------------------------------------------------------

    def identify(self, request: ScanRequest) -> Identity:
        """What makes a request the same as another one.

        Raises:
            CheckpointError, DataError: when a file of the request cannot be read.
        """
        return self._identifier.identify(absolute(request))

    def digest(self, checkpoint: Path) -> str:
        """The sha256 of a checkpoint file, or of the weight file of a checkpoint folder.

        Raises:
            CheckpointError: when it cannot be read.
        """
        return self._identifier.digest(checkpoint.expanduser().absolute())

    def find_scans(self, sha256: str) -> list[Job]:
        """Finished scans of the checkpoint with this digest, the newest first."""
        return self.jobs(sha256=sha256, state="done", limit=1000)

    def find_same(self, identity: Identity, *, kind: JobKind = "scan") -> list[Job]:
        """Jobs in any state with the same checkpoint, images, settings and program version."""
        return self._store.same(identity.sha256, identity.settings_key, kind)

    def find_current(self, identity: Identity, *, kind: JobKind = "scan") -> Job | None:
        """The same job where its result is there, or else where it waits or runs."""
        return self._store.current(identity.sha256, identity.settings_key, kind)

    # --- deciding ------------------------------------------------------------------------------

    def set_disposition(
        self, job_id: str, disposition: DispositionName, *, reviewer: str, note: str = ""
    ) -> None:
        """Add a reviewer's decision; earlier ones stay in :meth:`dispositions`.

        Raises:
            JobError: for an unknown decision or job, or without a name.
        """
        if disposition not in DISPOSITIONS:
            raise JobError(
                f"expected a decision among {', '.join(DISPOSITIONS)}, got {disposition!r}"
            )
        if not reviewer.strip():
            raise JobError("expected the reviewer's name")
        self._store.get(job_id)
        self._store.add_disposition(
            job_id, Disposition(disposition, reviewer.strip(), note.strip(), now())
        )

    def dispositions(self, job_id: str) -> list[Disposition]:
        """Every decision about a job, the first one first."""
        return self._store.dispositions(job_id)

    def set_tags(self, job_id: str, tags: Sequence[str]) -> None:
        """Replace the tags of a job.

        Raises:
            JobError: when there is none of this id.
        """
        self._store.get(job_id)
        self._store.set_tags(job_id, tags)

    def add_tags(self, job_id: str, tags: Sequence[str]) -> None:
        """Add tags to those of a job.

        Raises:
            JobError: when there is none of this id.
        """
        self._store.get(job_id)
        self._store.add_tags(job_id, tags)

    # --- moving and deleting -------------------------------------------------------------------

    def delete(self, job_id: str) -> None:
        """Forget a job and remove its files. A run folder outside the home stays.

        Raises:
            JobError: when there is none of this id, or it runs.
        """
        self._store.get(job_id)
        home = self._store.home
        with self._store.database.transaction():  # no file outlives its row
            self._store.remove(job_id)
            for folder in (home.run_folder(job_id), home.work_folder(job_id)):
                shutil.rmtree(folder, ignore_errors=True)

    def export_run(self, job_id: str, archive: Path) -> None:
        """Write a finished job with its run folder, tags and decisions into a zip file.

        Raises:
            JobError: when the job is not done or the file cannot be written.
        """
        write_archive(self._store, job_id, archive)

    def import_run(self, archive: Path) -> str:
        """Take a finished job from a zip file that :meth:`export_run` wrote; returns its id.

        The file is not trusted: only plain files of a report are taken, within limits.

        Raises:
            JobError: when it is no such file, the job is here already, or the disk is full.
        """
        self._quota.check()
        return read_archive(self._store, archive)
