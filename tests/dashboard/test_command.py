"""``python -m dashboard`` and ``rnp dashboard``: options, and what they tell Streamlit."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dashboard import __main__ as command
from dashboard.settings import MODELS_VARIABLE, TOKEN_VARIABLE, Settings, read_settings
from rnp_core import cli


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Options that a server would have been started with."""
    found: list[Any] = []
    monkeypatch.setattr(command, "_serve", found.append)
    for name in (MODELS_VARIABLE, TOKEN_VARIABLE, "RNP_HOST"):
        monkeypatch.setenv(name, "")  # put back afterwards
        monkeypatch.delenv(name)
    return found


def test_by_default_only_this_machine_is_served(served: list[Any]) -> None:
    assert command.main([]) == 0
    assert (served[0].host, served[0].port) == ("localhost", 8501)
    assert read_settings().is_local and read_settings().token == ""


def test_on_a_network_a_token_is_made(
    served: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--host", "0.0.0.0"]) == 0
    settings = read_settings()
    assert not settings.is_local and len(settings.token) >= 24
    assert settings.token in capsys.readouterr().err


def test_a_given_token_is_kept(
    served: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "mine")
    command.main(["--host", "0.0.0.0"])
    assert read_settings().token == "mine" and "mine" not in capsys.readouterr().err


def test_the_server_folder_must_exist(served: list[Any], tmp_path: Path) -> None:
    assert command.main(["--models", str(tmp_path / "nothing")]) == 2
    assert served == []
    assert command.main(["--models", str(tmp_path)]) == 0
    assert read_settings().models == tmp_path.resolve()


def test_rnp_dashboard_is_the_same_command(served: list[Any]) -> None:
    assert cli.main(["dashboard", "--port", "9000"]) == 0
    assert served[0].port == 9000


def test_the_browser_opens_once_the_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(command.webbrowser, "open", opened.append)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command._open_browser(port)
    assert opened == [f"http://localhost:{port}"]


def test_it_starts_from_any_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dashboard", "--help"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(command.__file__).parents[1])}, check=False,
    )
    assert done.returncode == 0 and "--models" in done.stdout


def test_uploads_lie_in_the_home(tmp_path: Path) -> None:
    settings = Settings(tmp_path, None, "", "localhost", "direct")
    assert settings.uploads == tmp_path / "uploads"
