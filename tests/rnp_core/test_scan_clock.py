"""The estimate of the time left, on scans that are made up."""

from __future__ import annotations

import math

import pytest

from rnp_core.jobs.types import JobEvent
from rnp_core.progress import Progress
from rnp_core.scan_clock import (
    FRACTION,
    SECONDS_LEFT,
    ScanClock,
    finished_fraction,
    seconds_left,
    time_left,
)


class Scan:
    """A scan whose steps take the seconds that they are told to."""

    def __init__(self, **expected: float) -> None:
        self.time = 100.0
        self.seen: list[Progress] = []
        self.clock = ScanClock(self.seen.append, now=lambda: self.time)
        self.clock.expect(expected)

    def stage(self, name: str, *steps: float, seconds: float) -> None:
        """Steps of these works, with ``seconds`` for each unit of work."""
        self.clock.begin(name)
        for step, work in enumerate(steps):
            self.time += seconds * work
            self.clock.report(Progress(name, step + 1, len(steps), work=work))
        self.clock.end()

    @property
    def fractions(self) -> list[float]:
        return [float(report.values[FRACTION]) for report in self.seen]  # type: ignore[arg-type]

    @property
    def left(self) -> list[object]:
        return [report.values.get(SECONDS_LEFT) for report in self.seen]


def test_the_time_left_is_known_once_the_first_stage_is_over() -> None:
    scan = Scan(unlearn=50, recover=20, triggers=40)
    scan.stage("unlearn", 10, 10, seconds=0.5)  # it stops before its expected 50
    scan.stage("recover", 10, 10, seconds=0.5)
    scan.stage("triggers", 20, 20, seconds=0.5)
    assert scan.left == [None, None, 25.0, 20.0, 10.0, 0.0]
    assert scan.fractions == pytest.approx([10 / 110, 20 / 110, 30 / 80, 40 / 80, 60 / 80, 0.999])


def test_the_latest_stage_tells_the_speed_and_a_running_one_once_it_settled() -> None:
    scan = Scan(unlearn=10, recover=10, triggers=100)
    scan.stage("unlearn", 10, seconds=1)
    scan.stage("recover", 2, 8, seconds=3)
    scan.stage("triggers", 10, 90, seconds=2)
    assert scan.left[1:] == pytest.approx([108 * 1, 100 * 3, 90 * 3, 0])


def test_the_fraction_never_falls_and_never_ends() -> None:
    scan = Scan(unlearn=20, triggers=20)
    scan.stage("unlearn", 10, 10, seconds=1)
    scan.clock.expect({"triggers": 500})
    scan.stage("triggers", 10, 10, seconds=1)
    assert scan.fractions == sorted(scan.fractions)
    assert all(0 <= fraction < 1 for fraction in scan.fractions)


def test_what_is_over_or_skipped_is_not_expected_again() -> None:
    scan = Scan(unlearn=10, removal=30, report=10)
    scan.stage("unlearn", 10, seconds=1)
    scan.clock.skip("removal")
    scan.clock.expect({"unlearn": 10, "removal": 30, "report": 10})
    scan.stage("samples", 10, seconds=1)
    assert scan.left[-1] == pytest.approx(10)


def test_a_stage_kept_from_an_interrupted_scan_says_nothing_about_the_speed() -> None:
    scan = Scan(unlearn=20, recover=10, margins=10)
    scan.stage("unlearn", seconds=0)
    scan.stage("recover", 10, seconds=2)
    scan.stage("margins", 5, 5, seconds=2)
    assert scan.left == [None, 10.0, 0.0]


def test_a_stage_that_takes_more_than_expected_leaves_the_others() -> None:
    scan = Scan(unlearn=10, triggers=15, removal=10)
    scan.stage("unlearn", 10, seconds=1)
    scan.stage("triggers", 10, 10, 10, seconds=1)
    assert scan.left == [None, 15.0, 10.0, 10.0]


def test_other_values_of_a_report_stay() -> None:
    scan = Scan(unlearn=10)
    scan.clock.report(Progress("unlearn", 1, 2, "word", {"accuracy": 0.5}))
    assert scan.seen[0].values == {"accuracy": 0.5, FRACTION: 0.0}
    assert scan.seen[0].message == "word"


@pytest.mark.parametrize("made_up", [math.nan, math.inf, -1.0, [1.0], 7.0])
def test_a_made_up_fraction_stays_in_bounds(made_up: float | list[float]) -> None:
    assert 0 <= finished_fraction(Progress("unlearn", 1, 2, "", {FRACTION: made_up})) < 1


def event(seq: int, stage: str, **values: float) -> JobEvent:
    return JobEvent(seq, 100.0 + seq, stage, 1, 2, "", values)


def test_the_latest_estimate_counts_down_between_reports() -> None:
    events = [event(1, "job"), event(2, "recover", seconds_left=40), event(3, "load")]
    assert seconds_left(reversed(events), 112.0) == 30
    assert seconds_left(reversed(events), 500.0) == 0
    assert seconds_left(reversed([*events, event(4, "job")]), 112.0) is None
    assert seconds_left(reversed([event(1, "recover", seconds_left=math.nan)]), 101.0) is None
    assert seconds_left([], 0.0) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (2, "a few seconds left"),
        (38, "about 40 s left"),
        (89, "about 90 s left"),
        (130, "about 2 min left"),
        (3 * 3600, "about 3 h left"),
    ],
)
def test_the_estimate_in_words(seconds: float, words: str) -> None:
    assert time_left(seconds) == words
