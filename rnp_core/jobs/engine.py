"""The way in to the jobs: a history that also submits, runs, cancels and resumes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from rnp_core.errors import ConfigError, JobError
from rnp_core.jobs.attempt import TASKS, Order
from rnp_core.jobs.dispatcher import Dispatcher
from rnp_core.jobs.history import History
from rnp_core.jobs.identity import absolute
from rnp_core.jobs.own_run import run_own
from rnp_core.jobs.owners import Owner
from rnp_core.jobs.pool import DirectPool, OnAnswer, Pool
from rnp_core.jobs.records import attempt_folder
from rnp_core.jobs.types import DEFAULT_LIMITS, EngineLimits, Job, JobKind
from rnp_core.progress import OnProgress, ignore_progress
from rnp_core.request import ScanRequest

DIRECT = "direct"
"""As ``scheduler``: one job at a time in a child of this very process, without Dask."""


class JobEngine(History):
    """The history of a home, and what runs its jobs.

    Waiting jobs run in the order of their priority while any engine with a scheduler is open; Dask
    starts with the first of them.

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
        super().__init__(home, limits=limits)
        self._scheduler = scheduler or os.environ.get("RNP_SCHEDULER") or None
        self._workers = workers
        self._send_files = send_files
        self._owner: Owner | None = None
        self._closed = False
        self._dispatcher: Dispatcher | None = None
        if run_jobs:
            self._dispatcher = Dispatcher(
                self._store,
                make_pool=self._pool,
                make_order=self._order,
                clean_up=self._quota.tidy,
            )

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
        super().close()

    def submit(
        self,
        request: ScanRequest,
        *,
        title: str = "",
        tags: Sequence[str] = (),
        kind: JobKind = "scan",
        priority: float = 0.0,
        once: bool = False,
    ) -> str:
        """Put a scan into the queue and return the id of its job.

        Args:
            request: ``out`` does not matter, the engine chooses the run folder.
            title: for people; the checkpoint's name if empty.
            kind: "triage" collects the cheap evidence only.
            priority: larger runs earlier.
            once: submit nothing where the same scan is done or under way, whoever wanted it, and
                return the id of that job.

        Raises:
            CheckpointError, DataError: when a file of the request cannot be read.
            JobError: when the queue or the disk is full, or the home cannot be written.
        """
        job_id = secrets.token_hex(8)
        folder = self._store.home.run_folder(job_id)
        request = absolute(dataclasses.replace(request, out=str(folder), force=True))
        identity = self._identifier.identify(request)
        self._quota.check()
        job_id = self._store.add(
            job_id,
            request,
            identity,
            kind=kind,
            title=title.strip() or identity.name,
            priority=priority,
            tags=tags,
            queue_length=self.limits.queue_length,
            once=once,
        )
        self._wake()
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
        request = absolute(request)
        identity = self._identifier.identify(request)
        self._quota.check()
        with self._store.database.transaction():  # nobody else may take it
            self._store.add(
                job_id,
                request,
                identity,
                kind="scan",
                title=title.strip() or identity.name,
                priority=0.0,
                tags=tags,
                queue_length=None,
            )
            job = self._take(job_id)
        order = dataclasses.replace(self._order(job), request=request.to_dict())
        return self._run_own(job, order, on_progress)

    def run_again(self, job_id: str, *, on_progress: OnProgress = ignore_progress) -> Job:
        """As :meth:`resume`, but now, whatever waits, in a child of this process.

        The result goes into the home. Returns the ended job.

        Raises:
            JobError: see :meth:`resume`; nothing was begun.
            RnpError: why the scan ended without a result, once that is written down.
        """
        with self._store.database.transaction():
            self._requeue(job_id)
            job = self._take(job_id)
        return self._run_own(job, self._order(job), on_progress)

    def cancel(self, job_id: str) -> None:
        """Cancel a waiting job at once, or a running one within a second, whoever runs it.

        A job that has ended stays as it is.

        Raises:
            JobError: when there is none of this id.
        """
        self._store.get(job_id)
        self._store.request_cancel(job_id)
        self._wake()

    def resume(self, job_id: str) -> None:
        """Run a job that failed, was cancelled or was interrupted again.

        Stages that finished before are not run again.

        Raises:
            JobError: when it waits, runs or is done.
        """
        self._requeue(job_id)
        self._wake()

    # --- inside --------------------------------------------------------------------------------

    def _requeue(self, job_id: str) -> None:
        if not self._store.requeue(job_id):
            state = self._store.get(job_id).state
            raise JobError(
                f"job {job_id} is {state}; only failed, cancelled and interrupted jobs run again"
            )

    def _take(self, job_id: str) -> Job:
        """Make a job that was just queued in the same transaction this engine's own."""
        if self._owner is None:
            self._owner = Owner(self._store)
        job = self._store.take(job_id, self._owner.id, DIRECT)
        assert job is not None
        return job

    def _run_own(self, job: Job, order: Order, on_progress: OnProgress) -> Job:
        assert self._owner is not None
        run_own(self._store, order, owner=self._owner.id, on_progress=on_progress)
        try:
            return self._store.get(job.id)
        except JobError:
            return job

    def _wake(self) -> None:
        if self._dispatcher is not None:
            self._dispatcher.wake()

    def _pool(self, on_answer: OnAnswer) -> Pool:
        if self._scheduler == DIRECT:
            return DirectPool(on_answer)
        try:
            from rnp_core.jobs.dask_pool import DaskPool
        except ImportError as error:
            raise JobError(
                f"running jobs in the background needs Dask ({error}): pip install "
                "'rnp-core[fleet]'"
            ) from error
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
