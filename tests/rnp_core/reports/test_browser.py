"""The HTML report in a browser without a network: no errors, no violations, nothing run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rnp_core.report import ScanReport
from rnp_core.reports import render_report
from rnp_core.reports.charts import plotly_script
from tests.helpers.chromium import CHROMIUM
from tests.helpers.hostile_report import (
    failed_report,
    hostile_report,
    with_suspects,
    write_example,
)

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

SCREENS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1200, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1200, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "color_scheme": "light"},
}


def open_report(browser: Any, folder: Path, report: ScanReport, screen: str) -> Any:
    """The page, and in ``page.troubles`` what went wrong or was asked for."""
    path = folder / "report.html"
    path.write_bytes(render_report(write_example(folder / "run", report), "html"))
    page = browser.new_context(offline=True, **SCREENS[screen]).new_page()
    page.set_default_timeout(180_000)  # a busy machine takes its time over Plotly's script
    page.troubles = []
    page.on("console", lambda message: page.troubles.append(message.text))
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.on("dialog", lambda dialog: (page.troubles.append(dialog.message), dialog.dismiss()))
    page.on(
        "request",
        lambda request: None
        if request.url.startswith(("file:", "data:"))
        else page.troubles.append(request.url),
    )
    page.goto(path.as_uri())
    page.wait_for_timeout(300)
    return page


@pytest.mark.parametrize(
    ("report", "screen"),
    [
        (with_suspects(3), "light"),
        (with_suspects(3), "dark"),
        (with_suspects(0), "phone"),
        (with_suspects(1), "light"),
        (with_suspects(2000), "light"),
        (failed_report(), "dark"),
        (hostile_report(), "light"),
        (hostile_report(), "dark"),
        (hostile_report(), "phone"),
    ],
    ids=[
        "light", "dark", "none-phone", "one", "2000", "failed-dark", "hostile", "hostile-dark",
        "hostile-phone",
    ],
)
def test_a_page_is_sound(browser: Any, tmp_path: Path, report: ScanReport, screen: str) -> None:
    page = open_report(browser, tmp_path, report, screen)
    assert page.troubles == []
    violations = axe.Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in violations] == []
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= SCREENS[screen]["viewport"]["width"]
    page.context.close()


def test_charts_live_on_screens_and_are_drawn_on_paper(browser: Any, tmp_path: Path) -> None:
    if plotly_script() is None:
        pytest.skip("plotly is not installed")
    page = open_report(browser, tmp_path, with_suspects(30), "light")
    charts = page.locator("[data-chart]").count()
    assert charts >= 3
    assert page.locator("[data-chart] .main-svg").first.is_visible()
    assert not page.locator(".still svg").first.is_visible()
    page.emulate_media(media="print")
    assert page.locator(".still svg").first.is_visible()
    assert not page.locator("[data-chart]").first.is_visible()
    page.context.close()
