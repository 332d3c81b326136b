"""Sign-in with a provider in chromium: from the closed door to a decision under the own name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnp_core import JobEngine
from tests.dashboard.browser import (
    Server,
    accessibility_violations,
    browser_marks,
    new_page,
    open_page,
    serving,
    settle,
)
from tests.dashboard.folders import make_report, write_folder
from tests.dashboard.homes import add_scan

pytestmark = browser_marks("authlib", "httpx", "joserfc")


def write_secrets(place: Path, server: Server, provider: str) -> None:
    """``secrets.toml`` in the folder that the server is started from."""
    place.mkdir()
    (place / "secrets.toml").write_text(
        f'[auth]\nredirect_uri = "{server.address}/oauth2callback"\n'
        'cookie_secret = "a long random text"\nclient_id = "scanner"\nclient_secret = "secret"\n'
        f'server_metadata_url = "{provider}/.well-known/openid-configuration"\n'
    )


def test_a_decision_carries_the_name_of_the_account(tmp_path: Path, browser: Any) -> None:
    from tests.dashboard.provider import providing

    with JobEngine(tmp_path / "home", run_jobs=False) as engine:
        job = add_scan(engine, write_folder(tmp_path / "run", make_report()), title="A scan")
    with (
        providing({"name": "Ada Lovelace", "email": "ada@example.org"}, client="scanner") as other,
        serving(tmp_path / "home", tmp_path / "log") as server,
    ):
        server.stop()
        write_secrets(tmp_path / ".streamlit", server, other.address)
        server.start()
        page = new_page(browser)
        open_page(page, server, f"verdict?scan={job}")
        assert "backdoor" not in page.inner_text("body").lower()
        assert accessibility_violations(page) == []
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("Signed in as Ada Lovelace").wait_for()
        open_page(page, server, f"verdict?scan={job}")
        page.get_by_text("This model has a backdoor").wait_for()
        page.get_by_text("Decide", exact=True).click()
        assert page.get_by_label("Your name").is_disabled()
        page.get_by_label("Note").fill("Seen.")
        page.get_by_role("button", name="Save the decision").click()
        page.get_by_test_id("stMarkdown").get_by_text("Seen.").wait_for()
        settle(page)
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("button", name="Sign in").wait_for()
        page.context.close()
        assert "Traceback" not in server.log.read_text()
    with JobEngine(tmp_path / "home", run_jobs=False) as engine:
        (decision,) = engine.dispositions(job)
    assert (decision.reviewer, decision.note) == ("Ada Lovelace", "Seen.")
