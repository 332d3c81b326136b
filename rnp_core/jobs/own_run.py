"""A job that its submitter runs at once, in a child of the very same process."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rnp_core.errors import JobError
from rnp_core.jobs.attempt import Order, Outcome, outcome_of, perform
from rnp_core.jobs.records import record_events, record_outcome
from rnp_core.jobs.store import JobStore
from rnp_core.progress import OnProgress, Progress

_log = logging.getLogger(__name__)
_WATCH_SECONDS = 0.3


def run_own(store: JobStore, order: Order, *, owner: str, on_progress: OnProgress) -> None:
    """Run an order that ``owner`` took, and write down how it ended.

    Where the table cannot be written meanwhile, the scan goes on without.

    Raises:
        RnpError: why it ended without a result, once that is written down.
    """
    def record(events: list[tuple[float, Progress]]) -> None:
        with contextlib.suppress(JobError):  # curves may have gaps, the scan goes on
            record_events(store, order.job, events)

    outcome = Outcome("done")
    try:
        with _watching(store, order.job, owner) as unwanted:
            perform(order, on_events=record, cancelled=unwanted.is_set, on_progress=on_progress)
    except BaseException as error:
        outcome = outcome_of(error)
        raise
    finally:
        try:
            record_outcome(store, order, outcome, owner=owner)
        except JobError as error:
            _log.warning("the scan could not be written into the history: %s", error)


@contextmanager
def _watching(store: JobStore, job_id: str, owner: str) -> Iterator[threading.Event]:
    """An event that is set once somebody wants the job cancelled."""
    ended, unwanted = threading.Event(), threading.Event()

    def watch() -> None:
        while not ended.wait(_WATCH_SECONDS):
            with contextlib.suppress(JobError):
                if job_id in store.cancel_requests(owner):
                    unwanted.set()

    threading.Thread(target=watch, name="rnp-watch", daemon=True).start()
    try:
        yield unwanted
    finally:
        ended.set()
