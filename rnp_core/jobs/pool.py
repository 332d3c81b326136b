"""What runs attempts for an engine. The engine asks; a pool answers through one callback."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from rnp_core.jobs.attempt import Order, Outcome, make_attempt
from rnp_core.progress import Progress

Answer = list[tuple[float, Progress]] | Outcome
OnAnswer = Callable[[Order, Answer], None]
"""Called from any thread: progress of an attempt, and its outcome once at the end."""


class Pool(Protocol):
    """Runs orders until each has an outcome."""

    place: str
    """Engines with pools of the same place share its capacity."""

    @property
    def problem(self) -> str:
        """Why nothing runs at the moment; empty when all is well."""

    def capacity(self) -> int:
        """How many orders may run at once; 0 while there is nobody to run them."""

    def start(self, order: Order) -> None:
        """Begin; returns at once."""

    def cancel(self, order: Order) -> None:
        """End an order as soon as possible; its outcome says so."""

    def check(self) -> None:
        """Notice what was lost; called twice a second."""

    def close(self) -> None:
        """End everything that runs, and wait for that."""


class DirectPool:
    """Runs one order at a time in a child of this very process, without Dask."""

    place = "local"
    problem = ""

    def __init__(self, on_answer: OnAnswer) -> None:
        self._answer = on_answer
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="rnp-direct")
        self._stops: dict[str, threading.Event] = {}

    def capacity(self) -> int:
        return 1

    def start(self, order: Order) -> None:
        stop = self._stops[order.key] = threading.Event()
        self._threads.submit(self._run, order, stop)

    def _run(self, order: Order, stop: threading.Event) -> None:
        outcome = make_attempt(
            order, on_events=lambda events: self._answer(order, events), cancelled=stop.is_set
        )
        self._stops.pop(order.key, None)
        self._answer(order, outcome)

    def cancel(self, order: Order) -> None:
        if stop := self._stops.get(order.key):
            stop.set()

    def check(self) -> None:
        pass

    def close(self) -> None:
        for stop in list(self._stops.values()):
            stop.set()
        self._threads.shutdown()
