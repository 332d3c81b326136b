"""Attempts on Dask."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from distributed import Client, Future

from rnp_core.errors import JobError
from rnp_core.jobs.attempt import Order, Outcome
from rnp_core.jobs.cluster import NOTHING, Cluster
from rnp_core.jobs.dask_worker import mark_cancelled, work
from rnp_core.jobs.pool import OnAnswer
from rnp_core.jobs.sent_files import SentFiles
from rnp_core.progress import Progress

_ANSWER_SECONDS = 0.7  # a worker that was told to end an attempt has that long to say that it did
_CLOSE_SECONDS = 3.0
_ENDED = ("lost", "cancelled", "error", "finished")


class DaskPool:
    """Runs orders on a Dask cluster.

    Args:
        on_answer: see :class:`rnp_core.jobs.pool.Pool`.
        address, workers: see :class:`rnp_core.jobs.cluster.Cluster`.
        send_files: whether inputs and results travel through Dask, for workers that do not share
            the engine's disk.
    """

    def __init__(
        self,
        on_answer: OnAnswer,
        *,
        address: str | None = None,
        workers: int = 1,
        send_files: bool = False,
    ) -> None:
        self.place = address or "local"
        self._answer = on_answer
        self._cluster = Cluster(address, workers=workers)
        self._capacity = NOTHING
        self._files = SentFiles() if send_files else None
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="rnp-start")
        self._topic = f"rnp-{secrets.token_hex(8)}"
        self._listening: Client | None = None
        self._running: dict[str, tuple[Order, Future | None]] = {}  # no future: not sent yet
        self._lock = threading.Lock()

    @property
    def problem(self) -> str:
        """Why nothing runs at the moment; empty when all is well."""
        return self._cluster.problem

    def capacity(self) -> int:
        self._capacity = self._cluster.capacity()
        return self._capacity.slots

    def start(self, order: Order) -> None:
        with self._lock:
            self._running[order.key] = (order, None)
        self._starter.submit(self._submit, order)  # files may take a while to read and send

    def cancel(self, order: Order) -> None:
        with self._lock:
            _, future = self._running.get(order.key, (order, None))
        if future is None:  # not sent, or just about to be: see _submit
            self._end(order, Outcome("cancelled", "cancelled"))
            return
        for tell in (self._ask_worker, self._take_back):  # one thread each: either may hang
            threading.Thread(
                target=tell, args=(order, future), name="rnp-cancel", daemon=True
            ).start()

    def check(self) -> None:
        with self._lock:
            running = [(order, future) for order, future in self._running.values() if future]
        gone = self._cluster.is_lost
        for order, future in running:
            if gone or future.status in _ENDED:
                self._end(order, _outcome(future))
        if gone:
            self._cluster.give_up()

    def close(self) -> None:
        with self._lock:
            running = [order for order, _ in self._running.values()]
        for order in running:
            self.cancel(order)
        end = time.monotonic() + _CLOSE_SECONDS
        while self._running and time.monotonic() < end:
            time.sleep(0.02)
        self._cluster.close()
        self._starter.shutdown(wait=False, cancel_futures=True)

    # --- from the starting thread --------------------------------------------------------------

    def _submit(self, order: Order) -> None:
        if order.key not in self._running:  # cancelled meanwhile
            return
        try:
            future, order = self._send(order)
        except JobError as error:
            self._end(order, Outcome("failed", str(error)))
            return
        except Exception as error:  # the connection may break at any point
            self._end(order, Outcome("lost", f"cannot reach the scheduler: {error}"))
            return
        with self._lock:
            wanted = order.key in self._running
            if wanted:
                self._running[order.key] = (order, future)
            elif self._files is not None:
                self._files.release(order)
        if wanted:
            future.add_done_callback(self._done)
        else:
            _forget(future)

    def _send(self, order: Order) -> tuple[Future, Order]:
        client, capacity = self._cluster.client, self._capacity
        if client is None:
            raise ConnectionError(self._cluster.problem)
        if order.device == "cuda" and not capacity.gpus:
            raise JobError(
                "no worker offers a GPU: start workers with --resources GPU=1, or use another "
                "--device"
            )
        if client is not self._listening:
            client.subscribe_topic(self._topic, self._on_event)
            self._listening = client
        blobs: dict[str, Future] = {}
        if self._files is not None:
            order, blobs = self._files.send(client, order)
        future = client.submit(
            work,
            asdict(order),
            self._topic,
            blobs,
            capacity.by_host,
            key=order.key,
            pure=False,
            retries=0,
            resources={"GPU": 1} if capacity.gpus and order.device != "cpu" else None,
        )
        return future, order

    # --- from threads of Dask ------------------------------------------------------------------

    def _on_event(self, event: tuple[float, Any]) -> None:
        message = event[1]
        with self._lock:
            running = self._running.get(message["key"])
        if running is not None:
            events = [(moment, Progress(**fields)) for moment, fields in message["events"]]
            self._answer(running[0], events)

    def _done(self, future: Future) -> None:
        with self._lock:
            running = self._running.get(str(future.key))
        if running is not None:
            self._end(running[0], _outcome(future))

    # --- from any thread -----------------------------------------------------------------------

    def _ask_worker(self, order: Order, future: Future) -> None:
        """Have an attempt ended by its worker, whichever that is."""
        client = self._cluster.client
        if client is not None:
            with contextlib.suppress(Exception):
                client.run(mark_cancelled, order.key, on_error="ignore")

    def _take_back(self, order: Order, future: Future) -> None:
        """Have the scheduler forget an attempt that did not end in time: it never began, or its
        worker is stuck. A worker ends what was taken back as soon as it can."""
        time.sleep(_ANSWER_SECONDS)
        if order.key in self._running:
            _forget(future)

    def _end(self, order: Order, outcome: Outcome) -> None:
        """Hand on how an order ended; only the first call for it counts."""
        with self._lock:
            if self._running.pop(order.key, None) is None:
                return
            if self._files is not None:
                self._files.release(order)
        self._answer(order, outcome)


def _forget(future: Future) -> None:
    with contextlib.suppress(Exception):
        future.cancel(force=True)


def _outcome(future: Future) -> Outcome:
    if future.status == "finished":
        with contextlib.suppress(Exception):
            return Outcome(**future.result(timeout=30))
        return Outcome("lost", "the result of the worker did not arrive")
    if future.status == "error":
        error = future.exception(timeout=30)
        name = type(error).__name__
        if name == "KilledWorker":
            return Outcome("lost", "the worker that ran it was killed or lost")
        return Outcome("failed", f"the worker failed: {name}: {error}")
    return Outcome("lost", "contact with the scheduler was lost")
