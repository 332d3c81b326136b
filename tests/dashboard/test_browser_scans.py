"""Scans from the first click to the verdict in chromium, through refresh, restart and cancel."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard.browser import (
    ROOT,
    Server,
    accessibility_violations,
    browser_marks,
    new_page,
    open_page,
    serving,
    settle,
    violations_in_both_themes,
)
from tests.helpers.tiny_files import write_clean, write_model

pytestmark = browser_marks()

ICON = ROOT / "dashboard" / "static" / "icon.png"
PATIENCE = 1_800_000  # ms for a scan on a busy machine


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "home", tmp_path / "log") as running:
        yield running
        log = running.log.read_text()
        assert "Traceback" not in log, log[-3000:]


def call(server: Server, path: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{server.address}/api/v1/{path}", data=json.dumps(data).encode() if data else None,
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def start_demo(page: Any, server: Server) -> str:
    """Press the one button; the id of the scan."""
    open_page(page, server, "")
    page.get_by_role("button", name="Scan this model").first.click()
    page.wait_for_url("**/live?job=*")
    return str(page.url.partition("job=")[2])


def wait_until(condition: Any, *, seconds: float = PATIENCE / 1000) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.3)


def test_from_the_first_visit_to_the_verdict_and_its_repaired_model(
    server: Server, browser: Any
) -> None:
    page = new_page(browser)
    job = start_demo(page, server)
    page.get_by_text("Where the answers go while the model unlearns").wait_for(timeout=PATIENCE)
    assert violations_in_both_themes(page) == []
    page.wait_for_url("**/verdict?scan=*", timeout=PATIENCE)
    page.get_by_text("This model has a backdoor").wait_for()
    page.get_by_text("5 (no entry)").first.wait_for()
    settle(page)
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").get_by_text("Repaired model").click()
    assert download.value.suggested_filename.endswith(".safetensors")
    assert Path(download.value.path()).stat().st_size > 100_000
    assert call(server, f"scans/{job}")["verdict"] == "backdoored"
    ask_the_models(page, server, job)
    assert page.troubles == []
    page.context.close()


def ask_the_models(page: Any, server: Server, job: str) -> None:
    """The trigger on a picture of the reader's own, and the maps of an image that has none."""
    open_page(page, server, f"verdict?scan={job}&tab=triggers")
    page.get_by_text("Paste it on my image").click()
    page.locator('input[type="file"]').set_input_files(ICON)
    settle(page)
    page.get_by_text("What do the models say?").click()
    page.get_by_text("5 (no entry), ").first.wait_for(timeout=PATIENCE)
    report = call(server, f"scans/{job}/report")
    index = next(row["index"] for row in report["samples"] if not row["flagged"])
    open_page(page, server, f"verdict?scan={job}&tab=samples&sample={index}")
    page.get_by_role("button", name="Which pixels decided?").click()
    page.get_by_text("difference; grey is unchanged").wait_for(timeout=PATIENCE)


def test_own_checkpoint_and_images(server: Server, browser: Any, tmp_path: Path) -> None:
    model, clean = write_model(tmp_path / "own.pt"), write_clean(tmp_path / "clean.npz")
    for dark in (True, False):
        page = new_page(browser, dark=dark)
        open_page(page, server, "?from=own")
        page.locator('input[type="file"]').first.set_input_files(model)
        page.get_by_text("Never scanned here before.").wait_for()
        page.locator('input[type="file"]').nth(1).set_input_files(clean)
        page.get_by_text("Images by class").wait_for()
        page.get_by_role("radio", name="Quick").click()
        settle(page)
        assert accessibility_violations(page) == []
        if dark:
            page.context.close()
    page.get_by_role("button", name="Start the scan").click()
    page.wait_for_url("**/verdict?scan=*", timeout=PATIENCE)
    settle(page)
    open_page(page, server, "?from=own")
    page.locator('input[type="file"]').first.set_input_files(model)
    page.get_by_text("Scanned before").wait_for()
    assert page.troubles == []
    page.context.close()


def test_refresh_second_tab_and_cancel(server: Server, browser: Any) -> None:
    page = new_page(browser)
    job = start_demo(page, server)
    page.get_by_text("Read the model").first.wait_for()
    page.reload()
    page.get_by_role("button", name="Cancel").wait_for()
    waiting = new_page(browser)
    second = start_demo(waiting, server)
    waiting.get_by_text("next in the queue").wait_for()
    tab = page.context.new_page()
    tab.goto(f"{server.address}/live?job={job}")
    tab.get_by_role("button", name="Cancel").click()
    tab.get_by_text("The scan was cancelled").wait_for()
    page.get_by_text("The scan was cancelled").wait_for()
    assert call(server, f"scans/{job}")["state"] == "cancelled"
    waiting.get_by_text("next in the queue").wait_for(state="detached")
    waiting.get_by_role("button", name="Cancel").click()
    waiting.get_by_text("The scan was cancelled").wait_for()
    assert call(server, f"scans/{second}")["state"] == "cancelled"
    assert page.troubles == waiting.troubles == []
    page.context.close()
    waiting.context.close()


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL], ids=["stop", "kill"])
def test_a_scan_goes_on_after_the_server_was_restarted(
    server: Server, browser: Any, kind: signal.Signals
) -> None:
    page = new_page(browser)
    job = start_demo(page, server)
    wait_until(lambda: call(server, f"scans/{job}")["stage"] == "recover")
    server.stop(kind)
    server.start()
    wait_until(lambda: call(server, f"scans/{job}")["state"] in ("queued", "running"), seconds=60)
    page.wait_for_url("**/verdict?scan=*", timeout=PATIENCE)
    page.get_by_text("This model has a backdoor").wait_for()
    page.context.close()


def test_five_sessions_while_a_scan_runs(server: Server, browser: Any) -> None:
    job = call(server, "scans", {"model": "demo:clean-b", "preset": "quick"})["id"]
    wait_until(lambda: call(server, f"scans/{job}")["state"] == "done")
    running = call(server, "scans", {"model": "demo:patch", "preset": "thorough"})["id"]
    wait_until(lambda: call(server, f"scans/{running}")["state"] == "running", seconds=60)
    pages = [new_page(browser) for _ in range(5)]
    paths = {
        "": "Is there a backdoor", "history": "Every scan stays", "fleet": "Ranking",
        f"verdict?scan={job}": "Take it with you", f"live?job={running}": "You can close this page",
    }
    for page, path in zip(pages, paths, strict=True):
        open_page(page, server, path)
    times = []
    for _ in range(3):
        for page, (path, last) in zip(pages, paths.items(), strict=True):
            start = time.monotonic()
            page.goto(f"{server.address}/{path}")
            page.get_by_text(last).first.wait_for()  # what the page ends with
            times.append((round(time.monotonic() - start, 2), path.partition("?")[0]))
    print(f"five sessions while a scan runs: {sorted(times)[-5:]}")  # noqa: T201
    assert max(times)[0] < 6  # 2 on a machine that does nothing else
    call(server, f"scans/{running}")
    request = urllib.request.Request(f"{server.address}/api/v1/scans/{running}", method="DELETE")
    urllib.request.urlopen(request, timeout=30).close()
    assert all(page.troubles == [] for page in pages)
    for page in pages:
        page.context.close()


def test_many_calls_of_the_rest_route_at_once(server: Server) -> None:
    """The route answers while pages are drawn; health needs no token."""
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(call(server, "health")["status"]))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["ok"] * 20
    assert re.fullmatch(r"[\w.]+", call(server, "health")["version"])
