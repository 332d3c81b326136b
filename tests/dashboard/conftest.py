"""A home of its own for every test, and pages run without a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import dashboard
from rnp_core import JobEngine
from tests.dashboard.folders import clean_report, failed_report, make_report, write_folder
from tests.dashboard.homes import add_scan

APP = str(Path(dashboard.__file__).with_name("app.py"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: needs chromium; run with -m browser")


@pytest.fixture(scope="session")
def run_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished scans by name."""
    root = tmp_path_factory.mktemp("runs")
    reports = {"backdoored": make_report(), "clean": clean_report(), "failed": failed_report()}
    return {name: write_folder(root / name, report) for name, report in reports.items()}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, which the dashboard uses."""
    place = tmp_path / "home"
    monkeypatch.setenv("RNP_HOME", str(place))
    monkeypatch.delenv("RNP_MODELS", raising=False)
    monkeypatch.delenv("RNP_TOKEN", raising=False)
    return place


@pytest.fixture
def engine(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobEngine]:
    """The engine of the pages; it keeps jobs and runs none."""
    from dashboard import cache

    with JobEngine(home, run_jobs=False) as opened:
        cache.settings.clear()
        cache.fleet_tags.clear()
        monkeypatch.setattr(cache, "engine", lambda: opened)
        yield opened
    monkeypatch.undo()
    cache.settings.clear()


@pytest.fixture
def scans(engine: JobEngine, run_folders: dict[str, Path]) -> dict[str, str]:
    """Ids of finished scans in the home by name."""
    return {name: add_scan(engine, folder, title=f"The {name} one", sha256=f"{i}" * 64)
            for i, (name, folder) in enumerate(run_folders.items())}


Page = Callable[..., AppTest]


@pytest.fixture
def page(engine: JobEngine) -> Page:
    """Runs a page by its name with the parameters of its address."""

    def run(name: str, **parameters: str) -> AppTest:
        test = AppTest.from_file(APP, default_timeout=60)
        for key, value in parameters.items():
            test.query_params[key] = value
        if name != "scan":
            test.switch_page(f"app_pages/{name}.py")
        return test.run()

    return run
