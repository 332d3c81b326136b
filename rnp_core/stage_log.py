"""Runs the stages of a scan and writes down how each one ended."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from rnp_core.errors import RnpError, ScanCancelled
from rnp_core.parts import retried_batches
from rnp_core.report import StageRow
from rnp_core.scan_clock import ScanClock
from rnp_core.stage_store import StageStore

KEPT = "taken from an interrupted run of this scan"
"""Detail of a stage that finished in an earlier attempt."""

T = TypeVar("T")
_log = logging.getLogger(__name__)


class StageLog:
    """Collects a :class:`StageRow` for every stage; a failure is a row, not a crash.

    Args:
        store: keeps results of finished stages; one that finished before is not run again.
        clock: is told when stages begin and end, and by the stages how far they are.
    """

    def __init__(self, store: StageStore | None = None, clock: ScanClock | None = None) -> None:
        self.rows: list[StageRow] = []
        self._store = store
        self.clock = clock or ScanClock()

    def run(self, name: str, stage: Callable[[], T]) -> T | None:
        """The result of ``stage``, or None when it failed.

        Raises:
            ScanCancelled: passed on.
            MemoryError: passed on.
        """
        start = time.perf_counter()
        self.clock.begin(name)
        if self._store is not None and (kept := self._store.load(name)) is not None:
            self.clock.end()
            self.rows.append(StageRow(name, "done", time.perf_counter() - start, KEPT))
            return kept
        try:
            result = stage()
        except (ScanCancelled, MemoryError):
            raise
        except Exception as error:  # a network of the caller's may raise anything
            _log.warning("stage %s failed", name, exc_info=True)
            kind, lines = type(error).__name__, str(error).strip().splitlines()
            message = lines[0] if lines else kind
            if lines and not isinstance(error, RnpError):
                message = f"{kind}: {message}"
            self.rows.append(StageRow(name, "failed", time.perf_counter() - start, message))
            return None
        finally:
            self.clock.end()
        self.rows.append(StageRow(name, "done", time.perf_counter() - start))
        if self._store is not None:
            self._store.save(name, result)
        return result

    def run_batches(self, name: str, stage: Callable[[int], T], size: int) -> T | None:
        """:meth:`run` with batches of ``size`` images; where memory runs out with halves, and the
        row says so, as the size is part of the method.

        Raises:
            ScanCancelled, MemoryError: as :meth:`run` does.
        """
        used = size

        def attempt() -> T:
            nonlocal used
            result, used = retried_batches(stage, size)
            return result

        result = self.run(name, attempt)
        if used < size:
            detail = f"with batches of {used} images instead of {size}, as memory ran out"
            self.rows[-1] = dataclasses.replace(self.rows[-1], detail=detail)
        return result

    def skip(self, name: str, reason: str) -> None:
        """Note that a stage did not run."""
        self.clock.skip(name)
        self.rows.append(StageRow(name, "skipped", 0.0, reason))
