"""One attempt at a job: the order that travels to whoever runs it, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rnp_core.errors import IsolationError, RnpError, ScanCancelled
from rnp_core.isolation import IsolationLimits, run_isolated
from rnp_core.isolation.limits import LEAST_MEMORY
from rnp_core.jobs.machine import usable_cores, usable_memory
from rnp_core.progress import OnProgress, Progress, ignore_progress

TASKS = {
    "scan": "rnp_core.jobs.child_tasks:scan",
    "triage": "rnp_core.jobs.child_tasks:triage",
}
"""What the child process runs for a kind of job; see :func:`rnp_core.isolation.run_isolated`."""

REPORT_SECONDS = 0.1
"""Progress is handed on at most this often, together."""

OutcomeState = Literal["done", "failed", "cancelled", "lost"]


@dataclass(frozen=True)
class Order:
    """An attempt to make; plain values.

    Attributes:
        job, attempt: which.
        task: for :func:`run_isolated`.
        request: ``ScanRequest.to_dict()``; its ``out`` is a folder of this attempt alone.
        stages: folder that keeps results of finished stages between attempts.
        memory_bytes, seconds: limits of the child; without a memory limit it gets a share of the
            machine's.
        threads: CPU threads unless the request says; None takes a share of the machine's cores.
        device: "cpu", "cuda" or "auto", for the scheduler.
        inputs: field of the request to the sha256 of the file or folder that it names, for workers
            that do not share the disk; see :mod:`.transfer`.
    """

    job: str
    attempt: int
    task: str
    request: dict[str, Any]
    stages: str
    memory_bytes: int | None
    seconds: float
    threads: int | None = None
    device: str = "auto"
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Names the attempt everywhere."""
        return f"rnp-{self.job}-{self.attempt}"


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended. "lost" says that whoever ran it disappeared.

    Attributes:
        error: a sentence for people unless it is done.
        folder: what a worker that does not share the disk wrote, packed; None elsewhere.
    """

    state: OutcomeState
    error: str = ""
    folder: bytes | None = None


OnEvents = Callable[[list[tuple[float, Progress]]], None]
"""Takes progress reports with their times."""


def make_attempt(
    order: Order, *, on_events: OnEvents, cancelled: Callable[[], bool], share: int = 1
) -> Outcome:
    """:func:`perform` the order; whatever happens becomes an outcome."""
    try:
        perform(order, on_events=on_events, cancelled=cancelled, share=share)
    except Exception as error:
        return outcome_of(error)
    return Outcome("done")


def outcome_of(error: BaseException) -> Outcome:
    """What an attempt that ended with ``error`` came to."""
    if isinstance(error, (ScanCancelled, KeyboardInterrupt)):
        return Outcome("cancelled", "cancelled")
    if isinstance(error, IsolationError):
        return Outcome("failed", f"{error} ({error.reason})")
    if isinstance(error, RnpError):
        return Outcome("failed", str(error))
    if isinstance(error, OSError):
        return Outcome("failed", f"the worker could not run the scan: {error.strerror or error}")
    return Outcome("failed", f"{type(error).__name__}: {error}")


def perform(
    order: Order,
    *,
    on_events: OnEvents,
    cancelled: Callable[[], bool],
    on_progress: OnProgress = ignore_progress,
    share: int = 1,
) -> None:
    """Run the order in a child process of this one and wait for it.

    Args:
        on_events: called at most every :data:`REPORT_SECONDS`, and before the return with the rest.
        on_progress: called at once with every report.
        share: attempts that may run on this machine at once.

    Raises:
        RnpError: see :func:`rnp_core.isolation.run_isolated`.
    """
    waiting: list[tuple[float, Progress]] = []
    sent = 0.0

    def collect(progress: Progress) -> None:
        nonlocal sent
        waiting.append((time.time(), progress))
        on_progress(progress)
        if time.monotonic() - sent >= REPORT_SECONDS:
            send()
            sent = time.monotonic()

    def send() -> None:
        if waiting:
            on_events(waiting.copy())
            waiting.clear()

    threads = order.request["threads"] or order.threads or usable_cores() // share or 1
    memory = order.memory_bytes or int(0.8 * usable_memory() / share)
    request = {**order.request, "threads": threads}
    try:
        run_isolated(
            order.task,
            {"request": request, "stages": order.stages},
            limits=IsolationLimits(memory_bytes=max(memory, LEAST_MEMORY), seconds=order.seconds),
            on_progress=collect,
            cancelled=cancelled,
        )
    finally:
        send()
