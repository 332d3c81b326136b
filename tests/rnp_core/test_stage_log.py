"""How the stages of a scan ended."""

from __future__ import annotations

import pytest

from rnp_core.errors import ModelError, ScanCancelled
from rnp_core.stage_log import KEPT, StageLog


def fail(error: BaseException) -> object:
    raise error


def test_a_result_comes_through_with_its_time() -> None:
    log = StageLog()
    assert log.run("unlearn", lambda: 7) == 7
    assert [(row.name, row.status) for row in log.rows] == [("unlearn", "done")]
    assert log.rows[0].seconds >= 0


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ModelError("no logits\nmore"), "no logits"),
        (RuntimeError(""), "RuntimeError"),
        (ValueError("odd"), "ValueError: odd"),
        (KeyError("layer"), "KeyError: 'layer'"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
    ],
)
def test_a_failure_is_a_row(error: Exception, detail: str) -> None:
    log = StageLog()
    assert log.run("recover", lambda: fail(error)) is None
    assert (log.rows[0].status, log.rows[0].detail) == ("failed", detail)


@pytest.mark.parametrize("error", [ScanCancelled("stop"), MemoryError(), KeyboardInterrupt()])
def test_what_ends_the_scan_passes_through(error: BaseException) -> None:
    with pytest.raises(type(error)):
        StageLog().run("recover", lambda: fail(error))


def test_a_skipped_stage_says_why() -> None:
    log = StageLog()
    log.skip("samples", "no suspect images given")
    assert (log.rows[0].status, log.rows[0].detail) == ("skipped", "no suspect images given")


class Kept:
    """Stands for the store of an interrupted scan."""

    def __init__(self, **results: object) -> None:
        self.results = results

    def load(self, name: str) -> object | None:
        return self.results.get(name)

    def save(self, name: str, result: object) -> None:
        self.results[name] = result


def test_a_kept_result_is_not_made_again() -> None:
    log = StageLog(Kept(unlearn=7))  # type: ignore[arg-type]
    assert log.run("unlearn", lambda: fail(AssertionError("ran again"))) == 7
    assert (log.rows[0].status, log.rows[0].detail) == ("done", KEPT)


def test_results_are_kept_and_failures_are_not() -> None:
    kept = Kept()
    log = StageLog(kept)  # type: ignore[arg-type]
    log.run("unlearn", lambda: 3)
    log.run("recover", lambda: fail(ValueError("odd")))
    log.skip("samples", "none")
    assert kept.results == {"unlearn": 3}
    assert [row.status for row in log.rows] == ["done", "failed", "skipped"]
