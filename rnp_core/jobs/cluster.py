"""A connection to Dask: to a local cluster of one's own, started when first needed, or to an
existing one."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dask
from distributed import Client, LocalCluster, Security

_log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
"""Between two attempts to reach a scheduler."""

_LOOK_SECONDS = 1.0  # between two looks at the workers
_CONFIG = {
    "distributed.scheduler.allowed-failures": 0,  # what ended its worker is not tried on others
    "distributed.worker.memory.terminate": False,  # the child has the limits, not the worker
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
}


@dataclass(frozen=True)
class Capacity:
    """What a cluster can run.

    Attributes:
        slots: attempts at once. Where workers offer GPUs, only they count, with an attempt a GPU.
        by_host: attempts at once on each machine, by the host of its workers' addresses.
        gpus: whether workers offer GPUs.
    """

    slots: int
    by_host: Mapping[str, int]
    gpus: bool


NOTHING = Capacity(0, {}, False)


def capacity_of(workers: Iterable[Mapping[str, Any]]) -> Capacity:
    """The capacity of workers as ``Client.scheduler_info`` describes them."""
    workers = list(workers)
    gpus = [int(worker.get("resources", {}).get("GPU", 0)) for worker in workers]
    by_host: Counter[str] = Counter()
    for worker, count in zip(workers, gpus, strict=True):
        by_host[worker["host"]] += min(worker["nthreads"], count if any(gpus) else 1 << 30)
    return Capacity(by_host.total(), dict(by_host), any(gpus))


class Cluster:
    """The connection of one engine.

    Args:
        address: of a scheduler; None starts a local cluster for this user alone (TLS with keys of
            its own). Encryption of an existing one follows Dask's own configuration
            (``distributed.comm.tls``), with an address that starts with ``tls://``.
        workers: of the local cluster, each with one job at a time.
    """

    def __init__(self, address: str | None, *, workers: int) -> None:
        self.problem = ""
        self._address = address
        self._where = f"the scheduler at {address}" if address else "the local cluster"
        self._workers = workers
        self._client: Client | None = None
        self._local: LocalCluster | None = None
        self._next_try = 0.0
        self._capacity = NOTHING
        self._looked = 0.0

    @property
    def client(self) -> Client | None:
        """The connection if there is one."""
        return self._client

    @property
    def is_lost(self) -> bool:
        """Whether there was a connection that does not work any more."""
        return self._client is not None and self._client.status != "running"

    def connect(self) -> Client | None:
        """The connection, made if need be; None while that fails, see :attr:`problem`."""
        if self._client is not None or time.monotonic() < self._next_try:
            return self._client
        try:
            with dask.config.set(_CONFIG):
                target: Any = self._address or self._start()
                self._client = Client(
                    target, timeout=10, set_as_default=False, name="rnp", heartbeat_interval=1000
                )
        except Exception as error:  # OSError, TimeoutError, TypeError for bad addresses, ...
            self._next_try = time.monotonic() + RETRY_SECONDS
            self.problem = f"cannot reach {self._where}: {error}; trying again"
            _log.warning("%s", self.problem)
            return None
        self.problem = ""
        return self._client

    def capacity(self) -> Capacity:
        """What it can run now; nothing while it cannot be reached or has no workers."""
        client = self.connect()
        if client is None:
            return NOTHING
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            try:
                workers = client.scheduler_info(n_workers=-1)["workers"].values()
            except Exception as error:  # the connection may break at any point
                self.problem = f"cannot reach {self._where}: {error}"
                return NOTHING
            self._capacity = capacity_of(workers)
            self._looked = time.monotonic()
            self.problem = "" if workers else f"{self._where} has no workers yet"
        return self._capacity

    def give_up(self) -> None:
        """Drop a connection that does not work; the next :meth:`connect` makes another one."""
        self.problem = f"lost contact with {self._where}"
        self._disconnect()

    def close(self) -> None:
        """End the connection, and the local cluster with all its processes."""
        self._disconnect()
        self._stop()

    def _start(self) -> LocalCluster:
        self._stop()
        self._local = LocalCluster(
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
        return self._local

    def _stop(self) -> None:
        local, self._local = self._local, None
        if local is not None:
            with contextlib.suppress(Exception):
                local.close(timeout=10)

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        self._looked = 0.0
        if client is not None:
            with contextlib.suppress(Exception):
                client.close(timeout=2)
