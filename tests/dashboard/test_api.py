"""The REST route, called as a web server would call it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from dashboard import api, cache
from dashboard.requests import demo_request
from dashboard.server import SafeHeaders, go_on
from dashboard.settings import Settings
from dashboard.shell import PageShell
from rnp_core import JobEngine, find_demo
from tests.dashboard.homes import begin


class Answer:
    """Status, headers and body of a response."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def data(self) -> Any:
        return json.loads(self.body)


def call(
    method: str, path: str, *, body: Any = None, host: str = "localhost:8501",
    app: Any = None, **headers: str,
) -> Answer:
    """One request to the routes."""
    path, _, query = path.partition("?")
    data = b"" if body is None else json.dumps(body).encode()
    sent = {"host": host, "content-length": str(len(data)),
            **({"content-type": "application/json"} if body is not None else {}),
            **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(),
        "query_string": query.encode(), "scheme": "http", "server": ("127.0.0.1", 8501),
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "http_version": "1.1", "root_path": "",
    }
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    asyncio.run((app or Starlette(routes=api.routes()))(scope, receive, send))
    start = next(m for m in messages if m["type"] == "http.response.start")
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    body_bytes = b"".join(m.get("body", b"") for m in messages
                          if m["type"] == "http.response.body")
    return Answer(start["status"], found, body_bytes)


@pytest.fixture
def server(engine: JobEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Settings of the server, with a server folder."""
    models = (tmp_path / "models").resolve()
    models.mkdir()
    settings = Settings(home=engine.home, models=models, token="", host="localhost",
                        scheduler="direct")
    monkeypatch.setattr(cache, "settings", lambda: settings)
    return settings


def test_health_needs_nothing(server: Settings) -> None:
    found = call("GET", "/api/v1/health", host="anything")
    assert (found.status, found.data["status"]) == (200, "ok")


def test_a_demo_is_submitted_read_and_cancelled(server: Settings) -> None:
    made = call("POST", "/api/v1/scans", body={"model": "demo:patch-vgg", "preset": "quick",
                                               "title": "From a program", "tags": ["ci"]})
    assert made.status == 201
    job = made.data["id"]
    found = call("GET", f"/api/v1/scans/{job}").data
    assert (found["state"], found["preset"]) == ("queued", "quick")
    assert found["title"] == "From a program"
    assert [row["id"] for row in call("GET", "/api/v1/scans?state=queued").data["scans"]] == [job]
    assert call("GET", f"/api/v1/scans/{job}/report").status == 409
    assert call("DELETE", f"/api/v1/scans/{job}").data["state"] == "cancelled"


def test_a_running_scan_says_how_long_it_still_takes(server: Settings, engine: JobEngine) -> None:
    job = engine.submit(demo_request(find_demo("patch-vgg")))
    assert call("GET", f"/api/v1/scans/{job}").data["seconds_left"] is None
    begin(engine, job, fraction=0.3, seconds_left=41.0)
    found = call("GET", f"/api/v1/scans/{job}").data
    assert found["fraction"] == 0.3 and 30 < found["seconds_left"] <= 41


def test_a_finished_report_is_handed_out(server: Settings, scans: dict[str, str]) -> None:
    found = call("GET", f"/api/v1/scans/{scans['backdoored']}/report")
    assert found.status == 200 and found.data["verdict"] == "backdoored"


def test_files_of_the_server_folder_are_scanned(server: Settings) -> None:
    demo = find_demo("clean-b")
    assert server.models is not None
    (server.models / "model.safetensors").write_bytes(demo.checkpoint.read_bytes())
    (server.models / "clean.npz").write_bytes(demo.clean.read_bytes())
    made = call("POST", "/api/v1/scans", body={"model": "model.safetensors", "clean": "clean.npz"})
    assert made.status == 201 and made.data["checkpoint_name"] == "model.safetensors"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"model": "../../etc/passwd"}, 422, "allowed server folder"),
        ({"model": "/etc/passwd"}, 422, "allowed server folder"),
        ({"model": "demo:nothing"}, 422, "demo model"),
        ({"model": 3}, 400, "text 'model'"),
        ([], 400, "text 'model'"),
        ({"model": "demo:patch", "out": "/tmp"}, 400, "unknown: out"),
        ({"model": "demo:patch", "arch": "/tmp/x.py:run"}, 422, "code is not taken"),
        ({"model": "demo:patch", "mean": [0.5]}, 422, "go together"),
        ({"model": "demo:patch", "clean": "../x"}, 422, "allowed server folder"),
        ({"model": "demo:patch", "preset": "warp speed"}, 400, "preset"),
        ({"model": "demo:patch", "tags": "abc"}, 400, "tags"),
        ({"model": "demo:patch", "seed": "x"}, 400, "seed"),
    ],
)
def test_bad_requests_say_why(server: Settings, body: Any, status: int, message: str) -> None:
    found = call("POST", "/api/v1/scans", body=body)
    assert found.status == status, found.body
    assert message in found.data["error"]
    assert cache.engine().count() == 0


def test_a_foreign_page_cannot_submit(server: Settings) -> None:
    """A form or a plain fetch of another site is never application/json."""
    found = call("POST", "/api/v1/scans", body={"model": "demo:patch"},
                 content_type="text/plain")
    assert found.status == 415


def test_a_rebound_name_is_refused(server: Settings) -> None:
    assert call("GET", "/api/v1/scans", host="evil.example").status == 403


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip", "via"])
def test_a_proxy_does_not_open_the_route_to_a_network(server: Settings, header: str) -> None:
    found = call("GET", "/api/v1/scans", **{header: "192.0.2.1"})
    assert found.status == 403 and "RNP_TOKEN" in found.data["error"]


def test_with_sign_in_a_token_is_needed_on_localhost_too(
    server: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "sign_in_configured", lambda: True)
    assert call("GET", "/api/v1/scans").status == 403
    monkeypatch.setattr(cache, "settings", lambda: dataclasses.replace(server, token="t0ken"))
    assert call("GET", "/api/v1/scans", authorization="Bearer t0ken").status == 200


def test_a_large_body_is_refused(server: Settings) -> None:
    found = call("POST", "/api/v1/scans", body={"model": "x" * 100_000})
    assert found.status == 413


def test_a_nonsense_page_is_refused(server: Settings) -> None:
    assert call("GET", "/api/v1/scans?limit=many").status == 400
    assert call("GET", "/api/v1/scans/nothing").status == 404
    assert call("GET", "/api/v1/scans?state=<b>").status in (200, 400)


def test_elsewhere_a_token_is_needed(
    server: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = dataclasses.replace(server, host="0.0.0.0")
    monkeypatch.setattr(cache, "settings", lambda: remote)
    assert call("GET", "/api/v1/scans", host="lab:8501").status == 403
    monkeypatch.setattr(cache, "settings", lambda: dataclasses.replace(remote, token="t0ken"))
    assert call("GET", "/api/v1/scans", host="lab:8501").status == 401
    assert call("GET", "/api/v1/scans", authorization="Bearer wrong").status == 401
    assert call("GET", "/api/v1/scans", host="lab:8501", authorization="Bearer t0ken").status == 200
    assert call("GET", "/api/v1/health").status == 200


def test_every_answer_has_safe_headers(server: Settings) -> None:
    found = call("GET", "/api/v1/health", app=SafeHeaders(Starlette(routes=api.routes())))
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["x-frame-options"] == "SAMEORIGIN"


def test_the_shell_names_the_page_and_leaves_the_rest() -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        html = b"<html><head><title>Streamlit</title></head></html>"
        await send({"type": "http.response.start", "status": 200, "headers": [
            (b"content-type", b"text/html"), (b"content-length", str(len(html)).encode())]})
        await send({"type": "http.response.body", "body": html})

    found = call("GET", "/", app=PageShell(page, title="A <b> title"), accept="text/html")
    assert b"<title>A &lt;b&gt; title</title>" in found.body
    assert int(found.headers["content-length"]) == len(found.body)
    plain = call("GET", "/", app=PageShell(page, title="x"), accept="application/json")
    assert b"<title>Streamlit</title>" in plain.body


def test_interrupted_scans_go_on_with_the_server(server: Settings, engine: JobEngine) -> None:
    job = call("POST", "/api/v1/scans", body={"model": "demo:patch"}).data["id"]
    engine.cancel(job)
    go_on(engine)
    assert engine.job(job).state == "cancelled"
