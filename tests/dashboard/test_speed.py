"""What pages cost on the server with 200 scans in the history and 2,000 suspects in a scan.

Measured is the time of the processor, which other work on the machine does not change.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.wording import TABS
from rnp_core import JobEngine
from tests.dashboard.conftest import Page
from tests.dashboard.folders import make_report, write_folder
from tests.dashboard.homes import add_scan

pytestmark = pytest.mark.slow

SCANS, SUSPECTS = 200, 2000


def seconds(test: AppTest, work: Callable[[], AppTest]) -> float:
    """Processor time of running the page of ``test`` again by ``work``; it must be sound."""
    start = time.process_time()
    work()
    taken = time.process_time() - start
    assert not test.exception
    return round(taken, 2)


def test_pages_and_interactions_cost_little(
    page: Page, engine: JobEngine, tmp_path: Path
) -> None:
    small = write_folder(tmp_path / "small", make_report(samples=4))
    for number in range(SCANS - 1):
        add_scan(engine, small, title=f"Model {number:03d}", sha256=f"{number:064x}")
    large = add_scan(engine, write_folder(tmp_path / "large", make_report(samples=SUSPECTS)),
                     title="The large one", sha256="d" * 64)
    times = {}
    for name in ("scan", "history", "fleet", "help"):
        test = page(name)
        times[name] = seconds(test, test.run)
    for tab in TABS:
        test = page("verdict", scan=large, tab=tab)
        times[tab] = seconds(test, test.run)
    test = page("verdict", scan=large, tab="samples", sample="8")
    following = next(b for b in test.button if b.label == "Next")
    times["next sample"] = seconds(test, lambda: following.click().run())
    print(times)  # noqa: T201
    assert max(times.values()) < 0.3
