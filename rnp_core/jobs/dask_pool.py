"""Attempts on Dask: a local cluster of one's own, started when first needed, or an existing one."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import secrets
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rnp_core.errors import JobError
from rnp_core.jobs.attempt import Order, Outcome
from rnp_core.jobs.dask_worker import mark_cancelled, work
from rnp_core.jobs.pool import OnAnswer
from rnp_core.jobs.transfer import INPUT_FIELDS, pack
from rnp_core.progress import Progress

try:
    import dask
    from distributed import Client, Future, LocalCluster, Security
except ImportError as error:
    raise JobError(
        "running jobs in the background needs Dask: pip install 'rnp-core[fleet]'"
    ) from error

_log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
"""Between two attempts to reach a scheduler."""

_ANSWER_SECONDS = 0.7  # a worker that was told to end an attempt has that long to say that it did

_CONFIG = {
    "distributed.scheduler.allowed-failures": 0,  # what ended its worker is not tried on others
    "distributed.worker.memory.terminate": False,  # the child has the limits, not the worker
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
}


class DaskPool:
    """Runs orders on a Dask cluster.

    Args:
        on_answer: see :class:`rnp_core.jobs.pool.Pool`.
        address: of a scheduler; None starts a local cluster for this user alone (TLS with keys of
            its own). Encryption of an existing one follows Dask's own configuration
            (``distributed.comm.tls``), with an address that starts with ``tls://``.
        workers: of the local cluster, each with one job at a time.
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
        self.problem = ""
        self._answer = on_answer
        self._address = address
        self._workers = workers
        self._send_files = send_files
        self._topic = f"rnp-{secrets.token_hex(8)}"
        self._client: Client | None = None
        self._cluster: LocalCluster | None = None
        self._next_try = 0.0
        self._running: dict[str, tuple[Order, Future]] = {}
        self._blobs: dict[str, tuple[Future, int]] = {}
        self._lock = threading.Lock()

    # --- what the engine asks ------------------------------------------------------------------

    def capacity(self) -> int:
        client = self._connect()
        if client is None:
            return 0
        if self._address is None:
            return self._workers
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        self.problem = "" if workers else f"the scheduler at {self._address} has no workers yet"
        return sum(worker["nthreads"] for worker in workers)

    def start(self, order: Order) -> None:
        client = self._connect()
        if client is None:
            self._answer(order, Outcome("lost", self.problem))
            return
        try:
            order = self._hashed(order)
            blobs = {sha256: self._blobs[sha256][0] for sha256 in order.inputs.values()}
            future = client.submit(
                work,
                asdict(order),
                self._topic,
                blobs,
                self._workers if self._address is None else 1,
                key=order.key,
                pure=False,
                retries=0,
                resources=self._resources(client, order),
            )
        except JobError as error:
            self._answer(order, Outcome("failed", str(error)))
            return
        except Exception as error:  # the connection may break at any point
            self._answer(order, Outcome("lost", f"cannot reach the scheduler: {error}"))
            return
        with self._lock:
            self._running[order.key] = (order, future)
        future.add_done_callback(self._done)

    def cancel(self, order: Order) -> None:
        client = self._client
        with self._lock:
            running = self._running.get(order.key)
        if client is None or running is None:
            return

        def tell() -> None:
            with contextlib.suppress(Exception):
                client.run(mark_cancelled, order.key, on_error="ignore")
            time.sleep(_ANSWER_SECONDS)
            if order.key in self._running:
                with contextlib.suppress(Exception):  # it never began, or its worker is stuck
                    running[1].cancel(force=True)

        threading.Thread(target=tell, name="rnp-cancel", daemon=True).start()

    def check(self) -> None:
        client = self._client
        if client is None:
            return
        with self._lock:
            running = list(self._running.values())
        gone = client.status not in ("running", "connecting", "newly-created")
        for order, future in running:
            if future.status in ("lost", "cancelled", "error", "finished") or gone:
                self._end(order, future)
        if client.status != "running":
            where = self._address or "the local cluster"
            self.problem = f"lost contact with {where}"
            for order, future in running:
                self._end(order, future)
            self._disconnect()

    def close(self) -> None:
        with self._lock:
            running = list(self._running.values())
        for order, _ in running:
            self.cancel(order)
        end = time.monotonic() + 3
        while self._running and time.monotonic() < end:
            time.sleep(0.02)
        self._disconnect()
        if self._cluster is not None:
            with contextlib.suppress(Exception):
                self._cluster.close(timeout=10)
            self._cluster = None

    # --- inside --------------------------------------------------------------------------------

    def _connect(self) -> Client | None:
        if self._client is not None:
            return self._client
        if time.monotonic() < self._next_try:
            return None
        try:
            with dask.config.set(_CONFIG):
                target: Any = self._address or self._local_cluster()
                client = Client(
                    target, timeout=10, set_as_default=False, name="rnp", heartbeat_interval=1000
                )
            client.subscribe_topic(self._topic, self._on_event)
        except Exception as error:  # OSError, TimeoutError, TypeError for bad addresses, ...
            self._next_try = time.monotonic() + RETRY_SECONDS
            where = self._address or "a local cluster"
            self.problem = f"cannot reach {where}: {error}; trying again"
            _log.warning("%s", self.problem)
            return None
        self.problem = ""
        self._client = client
        return client

    def _local_cluster(self) -> LocalCluster:
        if self._cluster is not None:
            with contextlib.suppress(Exception):
                self._cluster.close(timeout=5)
        self._cluster = LocalCluster(
            n_workers=self._workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            memory_limit=None,
            silence_logs=logging.ERROR,
            security=Security.temporary(),  # messages are pickles: nobody else may send them
        )
        return self._cluster

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        self._blobs.clear()
        if client is not None:
            with contextlib.suppress(Exception):
                client.close(timeout=2)

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
            self._end(running[0], future)

    def _end(self, order: Order, future: Future) -> None:
        """Hand on how an order ended; only the first call for it counts."""
        if self._running.get(order.key) is None:
            return
        outcome = _outcome(future)
        with self._lock:
            if self._running.pop(order.key, None) is None:
                return
        self._release(order)
        self._answer(order, outcome)

    def _resources(self, client: Client, order: Order) -> dict[str, float] | None:
        """A whole GPU for a scan that wants one, or that may use one where workers offer them."""
        if self._address is None or order.device == "cpu":
            return None
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        offered = any("GPU" in worker.get("resources", {}) for worker in workers)
        return {"GPU": 1} if offered or order.device == "cuda" else None

    def _hashed(self, order: Order) -> Order:
        """With inputs by content, sent to the cluster unless they are there."""
        if not self._send_files or self._client is None:
            return order
        inputs = {}
        for name in INPUT_FIELDS:
            if (path := order.request.get(name)) is None:
                continue
            data = pack(Path(path))
            sha256 = inputs[name] = hashlib.sha256(data).hexdigest()
            future, users = self._blobs.get(sha256, (None, 0))
            if future is None:
                future = self._client.scatter(data, hash=True, direct=False)
            self._blobs[sha256] = (future, users + 1)
        return dataclasses.replace(order, inputs=inputs)

    def _release(self, order: Order) -> None:
        for sha256 in order.inputs.values():
            future, users = self._blobs.get(sha256, (None, 0))
            if future is not None:
                self._blobs[sha256] = (future, users - 1)


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
