"""The way in to the jobs: submit, follow, cancel, look up, decide, move, delete."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import secrets
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rnp_core.errors import ConfigError, JobError
from rnp_core.jobs.archive import read_archive, write_archive
from rnp_core.jobs.attempt import TASKS, Order, Outcome, outcome_of, perform
from rnp_core.jobs.dispatcher import Dispatcher, reap
from rnp_core.jobs.home import open_home
from rnp_core.jobs.identity import Identifier, Identity
from rnp_core.jobs.owners import Owner
from rnp_core.jobs.pool import DirectPool, OnAnswer, Pool
from rnp_core.jobs.quota import check_space, tidy
from rnp_core.jobs.records import attempt_folder, record_events, record_outcome
from rnp_core.jobs.store import JobFilter, JobStore, now
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
from rnp_core.progress import OnProgress, Progress, ignore_progress
from rnp_core.report import Verdict
from rnp_core.request import ScanRequest

_log = logging.getLogger(__name__)
_WATCH_SECONDS = 0.3

DIRECT = "direct"
"""As ``scheduler``: one job at a time in a child of this very process, without Dask."""


class JobEngine:
    """Jobs of one home. Several engines, in one process or many, may use the same home at once.

    Every method may be called from any thread. Waiting jobs run in the order of their priority
    while any engine with a scheduler is open; Dask starts with the first of them.

    Args:
        home: folder of the jobs, see :func:`rnp_core.jobs.default_home`; made if need be.
        scheduler: address of a Dask scheduler (``tcp://...``, ``tls://...``); None takes
            ``$RNP_SCHEDULER``, else a local cluster; :data:`DIRECT` does without Dask.
        limits: bounds on the home and on each job.
        workers: jobs that the local cluster runs at once.
        run_jobs: whether this engine runs waiting jobs; otherwise it only submits and looks.
        send_files: whether checkpoints, images and results travel through the scheduler, for
            workers that do not share this disk.

    Raises:
        JobError: when the home cannot be used.
    """

    def __init__(
        self,
        home: Path,
        *,
        scheduler: str | None = None,
        limits: EngineLimits = DEFAULT_LIMITS,
        workers: int = 1,
        run_jobs: bool = True,
        send_files: bool = False,
    ) -> None:
        if workers < 1:
            raise ConfigError(f"expected at least 1 worker, got {workers}")
        self.limits = limits
        self._scheduler = scheduler or os.environ.get("RNP_SCHEDULER") or None
        self._workers = workers
        self._send_files = send_files
        self._store = JobStore(open_home(home))
        self._identifier = Identifier()
        self._owner: Owner | None = None
        self._closed = False
        reap(self._store)
        self._dispatcher: Dispatcher | None = None
        if run_jobs:
            self._dispatcher = Dispatcher(
                self._store, make_pool=self._pool, make_order=self._order, clean_up=self._tidy
            )

    def __enter__(self) -> JobEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def home(self) -> Path:
        """The folder of the jobs."""
        return self._store.home.root

    @property
    def problem(self) -> str:
        """Why waiting jobs do not run at the moment; empty when all is well."""
        return self._dispatcher.problem if self._dispatcher else ""

    def close(self) -> None:
        """End what this engine runs (it becomes interrupted); waiting jobs stay in the queue."""
        if self._closed:
            return
        self._closed = True
        if self._dispatcher is not None:
            self._dispatcher.close()
        if self._owner is not None:
            with contextlib.suppress(JobError):
                self._owner.release()
        self._store.database.close()

    # --- jobs ----------------------------------------------------------------------------------

    def submit(
        self,
        request: ScanRequest,
        *,
        title: str = "",
        tags: Sequence[str] = (),
        kind: JobKind = "scan",
        priority: float = 0.0,
    ) -> str:
        """Put a scan into the queue and return the id of its job.

        Args:
            request: ``out`` does not matter, the engine chooses the run folder.
            title: for people; the checkpoint's name if empty.
            kind: "triage" collects the cheap evidence only.
            priority: larger runs earlier.

        Raises:
            CheckpointError, DataError: when a file of the request cannot be read.
            JobError: when the queue or the disk is full, or the home cannot be written.
        """
        job_id = secrets.token_hex(8)
        folder = self._store.home.run_folder(job_id)
        request = _absolute(dataclasses.replace(request, out=str(folder), force=True))
        self._add(job_id, request, title, tags, kind, priority)
        if self._dispatcher is not None:
            self._dispatcher.wake()
        return job_id

    def run(
        self,
        request: ScanRequest,
        *,
        title: str = "",
        tags: Sequence[str] = (),
        on_progress: OnProgress = ignore_progress,
    ) -> Job:
        """Scan now, whatever waits, in a child of this process, and return the ended job.

        The run folder is ``request.out``. Where the table cannot be written meanwhile, the scan
        goes on without.

        Args:
            on_progress: called in this thread; an exception from it ends the scan.

        Raises:
            CheckpointError, DataError, JobError: see :meth:`submit`; nothing was begun.
            RnpError: why the scan ended without a result, once that is written down.
        """
        job_id = secrets.token_hex(8)
        request = _absolute(request)
        with self._store.database.transaction():
            self._add(job_id, request, title, tags, "scan", 0.0)
            if self._owner is None:
                self._owner = Owner(self._store)
            owner = self._owner.id
            job = self._store.take(job_id, owner, DIRECT)
        assert job is not None
        order = dataclasses.replace(self._order(job), request=request.to_dict())
        ended, unwanted = threading.Event(), threading.Event()
        watcher = threading.Thread(
            target=self._watch, args=(job_id, owner, ended, unwanted), name="rnp-watch", daemon=True
        )
        watcher.start()
        outcome = Outcome("done")
        try:
            perform(
                order,
                on_events=lambda events: self._record_quietly(job_id, events),
                cancelled=unwanted.is_set,
                on_progress=on_progress,
            )
        except BaseException as error:
            outcome = outcome_of(error)
            raise
        finally:
            ended.set()
            try:
                record_outcome(self._store, order, outcome, owner=owner)
            except JobError as error:
                _log.warning("the scan could not be written into the history: %s", error)
        try:
            return self._store.get(job_id)
        except JobError:
            return job

    def job(self, job_id: str) -> Job:
        """One job.

        Raises:
            JobError: when there is none of this id.
        """
        return self._store.get(job_id)

    def jobs(
        self,
        *,
        state: JobState | None = None,
        text: str = "",
        tag: str | None = None,
        verdict: Verdict | None = None,
        sha256: str | None = None,
        kind: JobKind | None = "scan",
        limit: int = 100,
        offset: int = 0,
    ) -> list[Job]:
        """Jobs, the newest first.

        Args:
            text: words that all occur in title, checkpoint name, tags or the start of the digest.
            sha256: digest of the checkpoint, or its beginning.
            kind: None lists triages of fleets as well.
        """
        which = JobFilter(state, text, tag, verdict, sha256, kind)
        return self._store.find(which, limit=limit, offset=offset)

    def count(
        self,
        *,
        state: JobState | None = None,
        text: str = "",
        tag: str | None = None,
        verdict: Verdict | None = None,
        sha256: str | None = None,
        kind: JobKind | None = "scan",
    ) -> int:
        """How many jobs :meth:`jobs` would list without a limit."""
        return self._store.count(JobFilter(state, text, tag, verdict, sha256, kind))

    def events(self, job_id: str, *, after: int = 0) -> list[JobEvent]:
        """Progress of a job after the event ``after``, in order."""
        return self._store.events(job_id, after=after)

    def position(self, job_id: str) -> int | None:
        """Place in the queue, 1 for the next; None when the job does not wait."""
        return self._store.position(job_id)

    def cancel(self, job_id: str) -> None:
        """Cancel a waiting job at once, or a running one within a second, whoever runs it.

        A job that has ended stays as it is.

        Raises:
            JobError: when there is none of this id.
        """
        self._store.get(job_id)
        self._store.request_cancel(job_id)
        if self._dispatcher is not None:
            self._dispatcher.wake()

    def resume(self, job_id: str) -> None:
        """Run a job that failed, was cancelled or was interrupted again.

        Stages that finished before are not run again.

        Raises:
            JobError: when it waits, runs or is done.
        """
        if not self._store.requeue(job_id):
            state = self._store.get(job_id).state
            raise JobError(
                f"job {job_id} is {state}; only failed, cancelled and interrupted jobs run again"
            )
        if self._dispatcher is not None:
            self._dispatcher.wake()

    def delete(self, job_id: str) -> None:
        """Forget a job and remove its files. A run folder outside the home stays.

        Raises:
            JobError: when there is none of this id, or it runs.
        """
        self._store.get(job_id)
        self._store.remove(job_id)
        home = self._store.home
        for folder in (home.run_folder(job_id), home.work_folder(job_id)):
            shutil.rmtree(folder, ignore_errors=True)

    # --- history -------------------------------------------------------------------------------

    def identify(self, request: ScanRequest) -> Identity:
        """What makes a request the same as another one.

        Raises:
            CheckpointError, DataError: when a file of the request cannot be read.
        """
        return self._identifier.identify(_absolute(request))

    def find_scans(self, sha256: str) -> list[Job]:
        """Finished scans of the checkpoint with this digest, the newest first."""
        return self.jobs(sha256=sha256, state="done", limit=1000)

    def find_same(self, identity: Identity, *, kind: JobKind = "scan") -> list[Job]:
        """Jobs in any state with the same checkpoint, images, settings and program version."""
        return self._store.same(identity.sha256, identity.settings_key, kind)

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
            JobError: when it is no such file, or the job is here already.
        """
        return read_archive(self._store, archive)

    # --- inside --------------------------------------------------------------------------------

    def _add(
        self,
        job_id: str,
        request: ScanRequest,
        title: str,
        tags: Sequence[str],
        kind: JobKind,
        priority: float,
    ) -> None:
        identity = self._identifier.identify(request)
        busy = {running for running, _ in self._store.running()}
        check_space(self._store.home, busy=busy, limits=self.limits)
        self._store.add(
            job_id,
            request,
            kind=kind,
            title=title.strip() or identity.name,
            sha256=identity.sha256,
            name=identity.name,
            settings_key=identity.settings_key,
            priority=priority,
            tags=tags,
            queue_length=self.limits.queue_length,
        )

    def _pool(self, on_answer: OnAnswer) -> Pool:
        if self._scheduler == DIRECT:
            return DirectPool(on_answer)
        from rnp_core.jobs.dask_pool import DaskPool

        return DaskPool(
            on_answer,
            address=self._scheduler,
            workers=self._workers,
            send_files=self._send_files,
        )

    def _order(self, job: Job) -> Order:
        out = attempt_folder(self._store, job.id, job.attempts)
        request = dataclasses.replace(job.request, out=str(out), force=True)
        return Order(
            job=job.id,
            attempt=job.attempts,
            task=TASKS[job.kind],
            request=request.to_dict(),
            stages=str(self._store.home.work_folder(job.id) / "stages"),
            memory_bytes=self.limits.job_memory_bytes,
            seconds=self.limits.job_seconds,
            threads=self.limits.threads,
            device=request.device,
        )

    def _watch(
        self, job_id: str, owner: str, ended: threading.Event, unwanted: threading.Event
    ) -> None:
        """Notice that somebody wants a direct run cancelled."""
        while not ended.wait(_WATCH_SECONDS):
            with contextlib.suppress(JobError):
                if job_id in self._store.cancel_requests(owner):
                    unwanted.set()

    def _record_quietly(self, job_id: str, events: list[tuple[float, Progress]]) -> None:
        with contextlib.suppress(JobError):  # curves may have gaps, the scan goes on
            record_events(self._store, job_id, events)

    def _tidy(self) -> None:
        busy = {running for running, _ in self._store.running()}
        tidy(self._store.home, busy=busy, limits=self.limits)


def _absolute(request: ScanRequest) -> ScanRequest:
    """With paths that mean the same in every process."""
    def whole(path: str) -> str:
        return str(Path(path).expanduser().absolute())

    arch = request.arch
    if arch is not None and (code := arch.rpartition(":"))[0].endswith(".py"):
        arch = f"{whole(code[0])}:{code[2]}"
    return dataclasses.replace(
        request,
        arch=arch,
        checkpoint=whole(request.checkpoint),
        clean=whole(request.clean) if request.clean is not None else None,
        suspects=whole(request.suspects) if request.suspects is not None else None,
        out=whole(request.out),
    )
