"""What runs inside a Dask worker: an attempt, watched by its scheduler, in a child process."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distributed import get_worker
from distributed.comm import get_address_host

from rnp_core.jobs.attempt import Order, Outcome, make_attempt
from rnp_core.jobs.transfer import pack, place_inputs
from rnp_core.progress import Progress

_cancelled: set[str] = set()
_LIVE_STATES = ("executing", "long-running")


def mark_cancelled(key: str) -> None:
    """Runs in the event loop of a worker: the attempt ``key`` shall end."""
    _cancelled.add(key)


def work(
    values: dict[str, Any], topic: str, blobs: dict[str, bytes], by_host: Mapping[str, int]
) -> dict[str, Any]:
    """Make the attempt and return the fields of its :class:`Outcome`.

    The child ends when the attempt is cancelled, when the client or the scheduler is gone (the
    scheduler then takes the task back), and with this process.

    Args:
        values: fields of an :class:`Order`.
        topic: where progress goes, see ``Worker.log_event``.
        blobs: sha256 to bytes of inputs, for workers that do not share the disk.
        by_host: attempts that may run at once on each machine, by the host of workers' addresses.
    """
    worker = get_worker()
    order = Order(**values)
    key = order.key

    def cancelled() -> bool:
        task = worker.state.tasks.get(key)
        running = worker.status.name in ("running", "paused")
        return key in _cancelled or not running or task is None or task.state not in _LIVE_STATES

    def send(events: list[tuple[float, Progress]]) -> None:
        worker.log_event(topic, {"key": key, "events": [(t, asdict(p)) for t, p in events]})

    with place_inputs(order, blobs, Path(worker.local_directory) / "rnp") as placed:
        outcome = make_attempt(
            placed,
            on_events=send,
            cancelled=cancelled,
            share=by_host.get(get_address_host(worker.address), worker.state.nthreads),
        )
        if order.inputs and outcome.state == "done":
            outcome = Outcome("done", folder=pack(Path(placed.request["out"])))
            shutil.rmtree(placed.stages, ignore_errors=True)
    _cancelled.discard(key)
    return asdict(outcome)
