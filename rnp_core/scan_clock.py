"""How far a scan is and how long it still takes, from the work that its stages report."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from rnp_core.progress import OnProgress, Progress, ignore_progress

if TYPE_CHECKING:
    from rnp_core.jobs.types import JobEvent

FRACTION = "fraction"
"""Among the values of a scan's progress: its finished share, in [0, 1), which never falls."""

SECONDS_LEFT = "seconds_left"
"""Among the values of a scan's progress once its first stage is over."""

_SETTLED = 0.25
"""Share of its work from which a running stage counts for the speed; preparations come first."""

_ALMOST = 0.999
"""Largest share of a scan that still runs."""


class ScanClock:
    """Measures how fast a scan works, and hands progress on with what that says about the stages
    ahead. The latest stage tells best how fast the next one will be.

    Args:
        on_progress: gets every report, with :data:`FRACTION` and :data:`SECONDS_LEFT` added.
        now: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        on_progress: OnProgress = ignore_progress,
        *,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._on_progress, self._now = on_progress, now
        self._ahead: dict[str, float] = {}
        self._over: set[str] = set()
        self._stage, self._started, self._done = "", 0.0, 0.0
        self._behind = 0.0  # work of the stages that are over
        self._speed: float | None = None  # work a second, in the last of them that reported any
        self._fraction = 0.0

    def expect(self, work: Mapping[str, float]) -> None:
        """Take ``work`` of every stage, see :mod:`rnp_core.expected_work`, for the plan; what is
        over stays over."""
        self._ahead = {stage: own for stage, own in work.items() if stage not in self._over}

    def begin(self, stage: str) -> None:
        """A stage starts."""
        self._stage, self._started, self._done = stage, self._now(), 0.0

    def end(self) -> None:
        """The stage is over, whatever came of it."""
        if self._done > 0:
            self._behind += self._done
            self._speed = self._speed_now()
        self._drop(self._stage)
        self._stage, self._done = "", 0.0

    def skip(self, stage: str) -> None:
        """A stage does not run."""
        self._drop(stage)

    def report(self, progress: Progress) -> None:
        """Hand ``progress`` on; the callback of the stages."""
        self._done += progress.work
        own = self._ahead.get(self._stage, 0.0)
        left = sum(self._ahead.values()) - min(self._done, own)
        done = self._behind + self._done
        if done > 0:
            self._fraction = max(self._fraction, min(_ALMOST, done / (done + left)))
        values = {**progress.values, FRACTION: self._fraction}
        if self._speed is not None:
            settled = self._done > 0 and self._done >= _SETTLED * own
            values[SECONDS_LEFT] = left / (self._speed_now() if settled else self._speed)
        self._on_progress(dataclasses.replace(progress, values=values))

    def _speed_now(self) -> float:
        """Work a second in the stage that runs."""
        return self._done / max(self._now() - self._started, 1e-9)

    def _drop(self, stage: str) -> None:
        self._over.add(stage)
        self._ahead.pop(stage, None)


def finished_fraction(progress: Progress) -> float:
    """Finished share of the scan that reports ``progress``, in [0, 1); 0 where it gives none."""
    return min(_ALMOST, _number(progress, FRACTION) or 0.0)


def seconds_left(reports: Iterable[JobEvent], now: float) -> float | None:
    """How long a scan still takes at the time ``now``; None while that is unknown.

    Args:
        reports: of the scan, the latest first.
    """
    for report in reports:
        if report.stage == "job":  # it started here, or ended
            return None
        left = _number(report, SECONDS_LEFT)
        if left is not None:
            return max(0.0, left - (now - report.time))
    return None


def _number(report: Progress | JobEvent, name: str) -> float | None:
    """A value of a report, which the process of a scan may have made up."""
    value = report.values.get(name)
    usable = isinstance(value, (int, float)) and 0 <= value < math.inf
    return float(value) if usable else None  # type: ignore[arg-type]


def time_left(seconds: float) -> str:
    """The estimate for people: "about 40 s left"."""
    if seconds < 5:
        return "a few seconds left"
    if seconds < 90:
        return f"about {5 * round(seconds / 5)} s left"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min left"
    return f"about {round(seconds / 3600)} h left"
