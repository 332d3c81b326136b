"""Finished scans in chromium: every page and tab, deep links, comparison, decisions, uploads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard.requests import demo_request
from dashboard.wording import TABS
from rnp_core import JobEngine, find_demo
from tests.dashboard.browser import (
    Server,
    accessibility_violations,
    browser_marks,
    new_page,
    open_page,
    serving,
    settle,
)
from tests.dashboard.folders import clean_report, make_report, write_folder
from tests.dashboard.homes import add_scan, begin, fail
from tests.helpers.hostile_files import corpus
from tests.helpers.tiny_files import write_clean, write_model

pytestmark = browser_marks()

SCANS, SUSPECTS = 200, 2000
PAGES = {
    "scan": "", "own": "?from=own", "history": "history", "fleet": "fleet", "help": "help",
    "compare": "compare?a={large}&b={clean}",
    **{tab: f"verdict?scan={{large}}&tab={tab}" for tab in TABS},
    "one sample": "verdict?scan={large}&tab=samples&sample=8",
    "nothing": "verdict?scan=nothing",
    "failed": "live?job={failed}",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A dashboard with 200 scans, one of them with 2,000 suspects."""
    root = tmp_path_factory.mktemp("pages")
    ids = {}
    with JobEngine(root / "home", run_jobs=False) as engine:
        small = write_folder(root / "small", make_report(samples=4))
        for number in range(SCANS - 2):
            add_scan(engine, small, title=f"Model {number:03d}", sha256=f"{number:064x}",
                     tags=("fleet", "fleet:tests-000000") if number % 4 == 0 else ())
        clean = write_folder(root / "clean", clean_report())
        ids["clean"] = add_scan(engine, clean, title="The clean one", sha256="c" * 64)
        large = write_folder(root / "large", make_report(samples=SUSPECTS))
        ids["large"] = add_scan(engine, large, title="The large one", sha256="d" * 64)
        ids["failed"] = engine.submit(demo_request(find_demo("patch")), title="The failed one")
        begin(engine, ids["failed"])
        fail(engine, ids["failed"], "the file is damaged")
    with serving(root / "home", root / "log", "--max-upload", "1") as running:
        running.ids = ids  # type: ignore[attr-defined]
        yield running


def path_of(server: Server, name: str) -> str:
    return PAGES[name].format(**server.ids)  # type: ignore[attr-defined]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", list(PAGES))
def test_a_page_is_sound(server: Server, browser: Any, name: str, dark: bool) -> None:
    """No errors, nothing fetched from elsewhere, no serious violation of accessibility rules."""
    page = new_page(browser, dark=dark)
    open_page(page, server, path_of(server, name))
    assert accessibility_violations(page) == []
    assert page.troubles == []
    assert "went wrong" not in page.inner_text("body")
    page.context.close()


@pytest.mark.parametrize("name", list(PAGES))
def test_a_page_fits_a_phone(server: Server, browser: Any, name: str) -> None:
    page = new_page(browser, narrow=True)
    open_page(page, server, path_of(server, name))
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390
    assert page.troubles == []
    page.context.close()


def test_pages_of_a_large_history_are_quick(server: Server, browser: Any) -> None:
    """Within a second for a session that is open; the first visit loads the program."""
    page = new_page(browser)
    times = {}
    for _ in range(2):
        for name in ("history", "summary", "samples", "fleet"):
            times[name] = open_page(page, server, path_of(server, name))
    print({name: round(seconds, 2) for name, seconds in times.items()})  # noqa: T201
    assert max(times.values()) < 5  # the machine of the tests may be busy
    page.context.close()


def test_tabs_labels_and_samples_have_addresses(server: Server, browser: Any) -> None:
    page = new_page(browser)
    open_page(page, server, path_of(server, "summary"))
    page.get_by_role("radio", name="Labels").click()
    page.wait_for_url("**tab=labels**")
    page.get_by_role("combobox", name=re.compile("Label")).click()
    page.get_by_role("option", name="4 (roundabout)").click()
    page.wait_for_url("**label=4**")
    page.get_by_role("radio", name="Samples").click()
    page.wait_for_url("**tab=samples**")
    settle(page)
    page.get_by_role("button", name=re.compile("^Image 4,")).click()
    page.wait_for_url("**sample=4**")
    page.get_by_role("heading", name=re.compile("^Image 4")).wait_for()
    settle(page)
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**sample=8**")
    page.get_by_role("heading", name=re.compile("^Image 8")).wait_for()
    page.reload()
    page.get_by_role("heading", name=re.compile("^Image 8")).wait_for()
    page.go_back()
    assert page.troubles == []
    page.context.close()


def test_a_closed_image_leads_back_to_its_page(server: Server, browser: Any) -> None:
    page = new_page(browser)
    open_page(page, server, f"{path_of(server, 'samples')}&page=3")
    image = page.get_by_role("button", name=re.compile("^Image [0-9]+,")).nth(5)
    name = image.get_attribute("aria-label") or image.inner_text()
    image.click()
    page.wait_for_url("**sample=**")
    settle(page)
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "sample=" not in url and "page=3" in url)
    page.get_by_role("button", name=name, exact=True).wait_for()
    page.get_by_role("radio", name="Flagged", exact=True).click()
    page.wait_for_url(lambda url: "page=" not in url)
    assert page.troubles == []
    page.context.close()


def test_the_threshold_moves_by_keyboard_and_stays_in_the_address(
    server: Server, browser: Any
) -> None:
    page = new_page(browser)
    open_page(page, server, path_of(server, "samples"))
    page.get_by_role("slider", name="Threshold").press("End")
    page.wait_for_url("**threshold=1.0**")
    page.get_by_role("heading", name=f"0 of {SUSPECTS:,} images flagged").wait_for()
    page.reload()
    page.get_by_role("heading", name=f"0 of {SUSPECTS:,} images flagged").wait_for()
    page.get_by_text("0 of 100 clean images").wait_for()
    page.get_by_role("button", name="Back to the scan").click()
    page.get_by_text("1 of 100 clean images").wait_for()
    assert page.troubles == []
    page.context.close()


def test_filters_are_linked_to_the_table_both_ways(server: Server, browser: Any) -> None:
    page = new_page(browser)
    open_page(page, server, path_of(server, "neurons"))
    page.get_by_text("none yet").wait_for()
    page.locator(".scatterlayer .point").nth(2).click(force=True)
    page.get_by_text(re.compile("filter .*: mask")).wait_for()
    chosen = page.get_by_text(re.compile("filter .*: mask"))
    first = chosen.inner_text()
    settle(page)
    page.get_by_test_id("stDataFrame").first.click(position={"x": 16, "y": 36 + 17})
    page.wait_for_function(
        "text => !document.body.innerText.includes(text)", arg=first, timeout=20_000
    )
    second = chosen.inner_text()
    settle(page)
    page.locator(".scatterlayer .point").nth(2).click(force=True)
    page.get_by_text(first).wait_for()
    assert first != second
    assert page.troubles == []
    page.context.close()


def test_a_decision_survives_a_new_session(server: Server, browser: Any) -> None:
    page = new_page(browser)
    open_page(page, server, path_of(server, "summary"))
    page.get_by_text("Decide", exact=True).click()
    page.get_by_role("radio", name="Escalate").click()
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Note").fill("<b>Look</b> again")
    page.get_by_role("button", name="Save the decision").click()
    page.get_by_test_id("stMarkdown").get_by_text("<b>Look</b> again").wait_for()
    page.context.close()
    other = new_page(browser)
    open_page(other, server, path_of(server, "summary"))
    other.get_by_test_id("stMarkdown").get_by_text("<b>Look</b> again").wait_for()
    assert other.troubles == []
    other.context.close()


def test_the_history_leads_to_a_scan_and_a_comparison(server: Server, browser: Any) -> None:
    page = new_page(browser)
    open_page(page, server, "history?q=dddd")
    page.get_by_text("1 scan", exact=True).wait_for()
    table = page.get_by_test_id("stDataFrame").first
    table.click(position={"x": 16, "y": 38 + 19})
    page.get_by_test_id("stPageLink").get_by_text("Open").click()
    page.wait_for_url("**/verdict?scan=**")
    page.get_by_text("This model has a backdoor").wait_for()
    open_page(page, server, "history?q=The")
    table = page.get_by_test_id("stDataFrame").first
    table.click(position={"x": 16, "y": 38 + 57})  # below the failed one
    settle(page)
    table.click(position={"x": 16, "y": 38 + 95})
    page.get_by_test_id("stPageLink").get_by_text("Compare the two").click()
    page.wait_for_url("**/compare?**")
    page.get_by_text("What differs").wait_for()
    assert page.troubles == []
    page.context.close()


def test_a_hostile_file_is_explained_and_not_run(
    server: Server, browser: Any, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    name, build = next((n, b) for n, b in corpus().items() if "reduce" in n or "system" in n)
    file = build(tmp_path, canary)
    if file.suffix not in (".pt", ".pth", ".pkl", ".bin"):
        file = file.rename(file.with_suffix(".pt"))
    page = new_page(browser)
    open_page(page, server, "?from=own")
    page.locator('input[type="file"]').first.set_input_files(file)
    page.get_by_text("A full unpickling would import").or_(
        page.get_by_text("This file is not scanned")).first.wait_for()
    settle(page)
    assert not canary.exists(), name
    assert accessibility_violations(page) == []
    assert page.get_by_role("button", name="Start the scan").is_disabled()
    assert page.troubles == []
    page.context.close()


def test_an_upload_that_is_too_large_is_refused(
    server: Server, browser: Any, tmp_path: Path
) -> None:
    large = tmp_path / "large.pt"
    large.write_bytes(bytes(2 << 20))
    page = new_page(browser)
    open_page(page, server, "?from=own")
    page.locator('input[type="file"]').first.set_input_files(large)
    page.get_by_text(re.compile("must be 1.*MB or smaller")).wait_for()
    page.context.close()


def test_the_own_files_are_looked_at_at_once(server: Server, browser: Any, tmp_path: Path) -> None:
    page = new_page(browser)
    open_page(page, server, "?from=own")
    page.locator('input[type="file"]').first.set_input_files(write_model(tmp_path / "own.pt"))
    page.get_by_text("Never scanned here before.").wait_for()
    page.locator('input[type="file"]').nth(1).set_input_files(write_clean(tmp_path / "clean.npz"))
    page.get_by_text("Images by class").wait_for()
    page.get_by_text("Accuracy on them").wait_for()
    settle(page)
    assert page.get_by_role("button", name="Start the scan").is_enabled()
    assert page.troubles == []
    page.context.close()
