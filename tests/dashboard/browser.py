"""A dashboard in a process of its own, and pages of it in chromium."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.chromium import CHROMIUM

ROOT = Path(__file__).parents[2]
READY = '[data-testid="stApp"][data-test-script-state="notRunning"]'
WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 390, "height": 844}


def browser_marks(*modules: str) -> list[pytest.MarkDecorator]:
    """``pytestmark`` of a module with tests in chromium, which is skipped where what it needs is
    not installed.

    Args:
        modules: that it imports beside those that drive the browser.
    """
    for module in ("playwright.sync_api", "axe_playwright_python", *modules):
        pytest.importorskip(module, reason=f"{module.partition('.')[0]} is not installed")
    return [
        pytest.mark.slow,
        pytest.mark.browser,
        pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    ]


class Server:
    """``python -m dashboard`` on a free port.

    Args:
        home: folder of the scans.
        log: where it writes what it says.
        options: further options of the command line.
    """

    def __init__(self, home: Path, log: Path, *options: str) -> None:
        self.home = home
        self.log = log
        self._options = options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.start()

    @property
    def address(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "RNP_HOME": str(self.home)}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dashboard", "--port", str(self.port), *self._options],
                env=environment, stdout=log, stderr=log, cwd=self.home.parent,
            )
        end = time.monotonic() + 300
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(f"{self.address}/api/v1/health", timeout=5)
                return
            time.sleep(0.2)
        self._process.kill()
        raise AssertionError(f"the dashboard did not start: {self.log.read_text()[-2000:]}")

    def stop(self, kind: int = signal.SIGTERM) -> None:
        """Stop and wait."""
        self._process.send_signal(kind)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)


@contextlib.contextmanager
def serving(home: Path, log: Path, *options: str) -> Iterator[Server]:
    """A server that is stopped in the end."""
    server = Server(home, log, *options)
    try:
        yield server
    finally:
        server.stop()


def new_page(browser: Any, *, dark: bool = False, narrow: bool = False) -> Any:
    """A page in a session of its own; ``page.troubles`` collects what goes wrong.

    Troubles are errors in the console, exceptions, failed requests, dialogs and requests to other
    machines.
    """
    context = browser.new_context(
        viewport=NARROW if narrow else WIDE, color_scheme="dark" if dark else "light"
    )
    context.set_default_timeout(120_000)  # the machine of the tests may be busy
    page = context.new_page()
    page.troubles = []
    page.on("console", lambda message: page.troubles.append(message.text)
            if message.type == "error" else None)
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.on("dialog", lambda dialog: (page.troubles.append(dialog.message), dialog.dismiss()))
    page.on("response", lambda response: page.troubles.append(f"{response.status} {response.url}")
            if response.status >= 400 else None)
    page.on("request", lambda request: None
            if request.url.startswith(("http://localhost:", "data:", "blob:"))
            else page.troubles.append(request.url))
    return page


def settle(page: Any, *, pause: int = 400) -> None:
    """Wait until the page has been drawn."""
    page.wait_for_selector(READY)
    page.wait_for_selector('[data-testid="stSkeleton"]', state="detached")
    page.wait_for_timeout(pause)


def open_page(page: Any, server: Server, path: str) -> float:
    """Open an address and wait until it has been drawn; seconds until the script was done."""
    start = time.monotonic()
    page.goto(f"{server.address}/{path}")
    page.wait_for_selector(READY)
    taken = time.monotonic() - start
    settle(page)
    return taken


def violations_in_both_themes(page: Any) -> list[tuple[str, list[str]]]:
    """:func:`accessibility_violations` in light, then in dark, without loading the page again."""
    found = accessibility_violations(page)
    light = _background(page)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"{_BACKGROUND} !== '{light}'")
    settle(page)
    found += accessibility_violations(page)
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"{_BACKGROUND} === '{light}'")
    return found


_BACKGROUND = "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"


def _background(page: Any) -> str:
    return str(page.evaluate(_BACKGROUND))


def accessibility_violations(page: Any) -> list[tuple[str, list[str]]]:
    """Serious and critical findings of axe on what the page shows: rule, and where."""
    from axe_playwright_python.sync_playwright import Axe

    return [
        (row["id"], [node["html"][:160] for node in row["nodes"][:3]])
        for row in Axe().run(page).response["violations"]
        if row["impact"] in ("serious", "critical")
    ]
