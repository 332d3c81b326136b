"""The thread that takes jobs from the queue, has a pool run them, and writes down what happens."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rnp_core.errors import JobError
from rnp_core.jobs.attempt import Order, Outcome
from rnp_core.jobs.owners import Owner
from rnp_core.jobs.pool import Answer, OnAnswer, Pool
from rnp_core.jobs.reaper import reap
from rnp_core.jobs.records import record_events, record_outcome, settle_lost
from rnp_core.jobs.store import JobStore
from rnp_core.jobs.types import Job

_log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
"""Longest time until a new job, an answer or a wish to cancel is noticed."""

CHECK_SECONDS = 0.5
"""Between two looks for owners and pools that died."""


@dataclass
class _Running:
    order: Order
    told: bool = False  # that it shall end
    outcome: Outcome | None = field(default=None)  # not written down yet


class Dispatcher:
    """Runs jobs of a home while it lives.

    Args:
        make_pool: called when the first job waits, with where answers go.
        make_order: the order for a job that was just claimed.
        clean_up: called after every job.
    """

    def __init__(
        self,
        store: JobStore,
        *,
        make_pool: Callable[[OnAnswer], Pool],
        make_order: Callable[[Job], Order],
        clean_up: Callable[[], None],
    ) -> None:
        self.problem = ""
        self._store = store
        self._make_pool = make_pool
        self._make_order = make_order
        self._clean_up = clean_up
        self._pool: Pool | None = None
        self._answers: queue.SimpleQueue[tuple[Order, Answer] | None] = queue.SimpleQueue()
        self._running: dict[str, _Running] = {}
        self._owner = Owner(store)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rnp-jobs", daemon=True)
        self._thread.start()

    def answer(self, order: Order, answer: Answer) -> None:
        """Take an answer of the pool; from any thread."""
        self._answers.put((order, answer))

    def wake(self) -> None:
        """Look for changes now."""
        self._answers.put(None)

    def close(self) -> None:
        """Stop: what runs becomes interrupted, what waits stays for the next engine."""
        self._ending.set()
        self.wake()
        self._thread.join()

    # --- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        checked = 0.0
        while not self._ending.is_set():
            try:
                self._cancel()
                if time.monotonic() - checked > CHECK_SECONDS:
                    checked = time.monotonic()
                    if self._pool is not None:
                        self._pool.check()
                    reap(self._store)
                self._take_answers()
                self._fill()
                self.problem = self._pool.problem if self._pool is not None else ""
            except JobError as error:  # a full disk, a lock: keep going, nothing is forgotten
                self.problem = str(error)
                _log.warning("%s", error)
                time.sleep(LOOK_SECONDS)
            except Exception:
                self.problem = "an unexpected error, see the log"
                _log.exception("the dispatcher of jobs stumbled")
                time.sleep(CHECK_SECONDS)
        self._end()

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.close()
        with contextlib.suppress(JobError):
            self._take_answers(wait=False)
        for job_id in list(self._running):
            with contextlib.suppress(JobError):
                settle_lost(
                    self._store, job_id, owner=self._owner.id,
                    error="the program that ran it was closed",
                )
        with contextlib.suppress(JobError):
            self._owner.release()

    def _take_answers(self, *, wait: bool = True) -> None:
        """Write down what the pool said; an outcome that cannot be written is kept for later."""
        block = wait and not any(running.outcome for running in self._running.values())
        with contextlib.suppress(queue.Empty):
            item = self._answers.get(timeout=LOOK_SECONDS) if block else self._answers.get_nowait()
            while True:
                if item is not None:
                    self._take(*item)
                item = self._answers.get_nowait()
        unwritten: JobError | None = None
        for running in [r for r in self._running.values() if r.outcome is not None]:
            try:
                self._write(running)
            except JobError as error:
                unwritten = error  # the others have their turn all the same
        if unwritten is not None:
            raise unwritten

    def _take(self, order: Order, answer: Answer) -> None:
        running = self._running.get(order.job)
        if running is None or running.order.attempt != order.attempt:
            return
        if isinstance(answer, Outcome):
            running.outcome = answer
            return
        with contextlib.suppress(JobError):  # curves may have gaps, results may not
            record_events(self._store, order.job, answer)

    def _write(self, running: _Running) -> None:
        outcome = running.outcome
        assert outcome is not None
        if running.told and outcome.state in ("lost", "failed"):
            outcome = Outcome("cancelled", "cancelled")
        if self._ending.is_set() and outcome.state in ("lost", "cancelled") and not running.told:
            outcome = Outcome("lost", "the program that ran it was closed")
        record_outcome(self._store, running.order, outcome, owner=self._owner.id)
        del self._running[running.order.job]
        self._clean_up()

    def _cancel(self) -> None:
        if self._pool is None or not self._running:
            return
        for job_id in self._store.cancel_requests(self._owner.id):
            running = self._running.get(job_id)
            if running is not None and not running.told:
                running.told = True
                self._pool.cancel(running.order)

    def _fill(self) -> None:
        if not self._store.waiting():
            return
        if self._pool is None:
            self._pool = self._make_pool(self.answer)
        capacity = self._pool.capacity()
        while len(self._running) < capacity:
            job = self._store.claim(self._owner.id, self._pool.place, capacity)
            if job is None:
                return
            try:
                order = self._make_order(job)
            except Exception as error:
                self._store.finish(job.id, "failed", owner=self._owner.id, error=str(error))
                continue
            self._running[job.id] = _Running(order)
            self._pool.start(order)
