"""The running server as a stranger meets it: hosts, tokens, headers, what it never serves."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboard.browser import Server, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("server")
    with serving(root / "home", root / "log", "--max-upload", "1") as running:
        yield running


def ask(
    server: Server, method: str, path: str, *, body: bytes | None = None, **headers: str
) -> http.client.HTTPResponse:
    """One request; the Host header is the server's own unless given."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body=body, headers={
        "host": f"localhost:{server.port}", **names,
    })
    return connection.getresponse()


def open_socket(server: Server, *, host: str, origin: str) -> int:
    """Status of the answer to a WebSocket's first request; 101 lets it in."""
    return ask(
        server, "GET", "/_stcore/stream", host=host, origin=origin, connection="Upgrade",
        upgrade="websocket", sec_websocket_version="13", sec_websocket_protocol="streamlit",
        sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==",
    ).status


def test_only_known_hosts_and_own_pages_get_a_session(server: Server) -> None:
    own = f"localhost:{server.port}"
    assert open_socket(server, host=own, origin=f"http://{own}") == 101
    rebound = f"evil.example:{server.port}"
    assert open_socket(server, host=rebound, origin=f"http://{rebound}") == 403
    assert open_socket(server, host=own, origin="http://evil.example") == 403


def test_an_upload_needs_the_token_of_the_page(server: Server) -> None:
    body = (b"--x\r\ncontent-disposition: form-data; name=\"f\"; filename=\"a.pt\"\r\n\r\nabc\r\n"
            b"--x--\r\n")
    answer = ask(server, "PUT", "/_stcore/upload_file/session/file", body=body,
                 content_type="multipart/form-data; boundary=x")
    assert answer.status == 403
    assert b"XSRF" in answer.read()


def test_pages_cannot_be_framed_or_sniffed(server: Server) -> None:
    answer = ask(server, "GET", "/", accept="text/html")
    assert answer.status == 200
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    page = answer.read()
    assert b"<title>RNP scanner</title>" in page


@pytest.mark.parametrize("path", [
    "/app.py", "/server.py", "/.streamlit/config.toml", "/..%2f..%2fetc/passwd",
    "/static/../app.py", "/app/static/../app.py", "/component/rnp_gallery/../../app.py",
])
def test_files_of_the_program_are_not_served(server: Server, path: str) -> None:
    answer = ask(server, "GET", path, accept="*/*")
    text = answer.read()
    assert b"from __future__" not in text and b"root:" not in text
    assert b"gatherUsageStats" not in text


def test_no_other_way_in_is_open(server: Server) -> None:
    """Streamlit's interface for programs stays off; ours is described in docs/dashboard.md."""
    schema = json.loads(ask(server, "GET", "/_stcore/agent/openapi.json").read())
    answer = ask(server, "POST", "/_stcore/agent/interact", body=b"{}",
                 content_type="application/json")
    assert answer.status >= 400, schema
    assert ask(server, "GET", "/_stcore/metrics").status in (200, 404)


def test_the_rest_route_works_and_refuses_foreign_hosts(server: Server) -> None:
    assert json.loads(ask(server, "GET", "/api/v1/health").read())["status"] == "ok"
    assert json.loads(ask(server, "GET", "/api/v1/scans").read())["scans"] == []
    assert ask(server, "GET", "/api/v1/scans", host="evil.example").status == 403
    answer = ask(server, "POST", "/api/v1/scans", body=b'{"model": "demo:patch"}',
                 content_type="text/plain")
    assert answer.status == 415


def test_what_is_written_is_for_this_user_alone(server: Server) -> None:
    assert server.home.stat().st_mode & 0o077 == 0
    assert "Traceback" not in Path(server.log).read_text()
