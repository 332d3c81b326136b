"""The HTML page around the app: its title, its language, and where the server is.

Streamlit's page guesses the address of its server from its own one, so that every deep link begins
with two requests that fail. The page is told the address instead.
"""

from __future__ import annotations

import html
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEAD = b"<head>"
_TITLE = b"<title>Streamlit</title>"
_ADDRESS = (
    b"<script>window.__streamlit = {BACKEND_BASE_URL: window.location.origin + '/'}</script>"
)


class PageShell:
    """Fills in the HTML page that Streamlit serves; all other responses pass unchanged.

    Args:
        title: shown until the app has loaded.
    """

    def __init__(self, app: ASGIApp, *, title: str) -> None:
        self._app = app
        self._title = f"<title>{html.escape(title)}</title>".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "text/html" not in Headers(scope=scope).get("accept", ""):
            await self._app(scope, receive, send)
            return
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        await self._app({**scope, "headers": plain}, receive, _Rewriter(send, self._fill))

    def _fill(self, page: bytes) -> bytes:
        return page.replace(_HEAD, _HEAD + _ADDRESS, 1).replace(_TITLE, self._title, 1)


class _Rewriter:
    """Sends a response on; the body of an HTML page is collected and rewritten first."""

    def __init__(self, send: Send, rewrite: Callable[[bytes], bytes]) -> None:
        self._send = send
        self._rewrite = rewrite
        self._start: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = Headers(raw=message["headers"])
            if headers.get("content-type", "").startswith("text/html"):
                self._start = message
                return
        elif self._start is not None and message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return
            page = self._rewrite(bytes(self._body))
            headers = MutableHeaders(scope=self._start)
            headers["content-length"] = str(len(page))
            del headers["etag"]
            await self._send(self._start)
            message = {"type": "http.response.body", "body": page}
            self._start = None
        await self._send(message)
