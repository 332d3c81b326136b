"""Runs the stages of a scan and writes down how each one ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from rnp_core.errors import RnpError, ScanCancelled
from rnp_core.report import StageRow

T = TypeVar("T")
_log = logging.getLogger(__name__)


class StageLog:
    """Collects a :class:`StageRow` for every stage; a failure is a row, not a crash."""

    def __init__(self) -> None:
        self.rows: list[StageRow] = []

    def run(self, name: str, stage: Callable[[], T]) -> T | None:
        """The result of ``stage``, or None when it failed.

        Raises:
            ScanCancelled: passed on.
            MemoryError: passed on.
        """
        start = time.perf_counter()
        try:
            result = stage()
        except ScanCancelled:
            raise
        except (RnpError, RuntimeError, ValueError, IndexError) as error:
            _log.warning("stage %s failed", name, exc_info=True)
            message = (str(error) or type(error).__name__).splitlines()[0]
            self.rows.append(StageRow(name, "failed", time.perf_counter() - start, message))
            return None
        self.rows.append(StageRow(name, "done", time.perf_counter() - start))
        return result

    def skip(self, name: str, reason: str) -> None:
        """Note that a stage did not run."""
        self.rows.append(StageRow(name, "skipped", 0.0, reason))
