"""Every test has a history of its own; tests of pages share a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.chromium import CHROMIUM


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path_factory.getbasetemp() / "rnp-home"
    monkeypatch.setenv("RNP_HOME", str(home))
    return home


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window, for a whole module."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        chromium = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()
