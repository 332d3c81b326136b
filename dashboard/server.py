"""The web server: Streamlit's own, with a REST route, headers and the job engine's life."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard import uploads
from dashboard.api import routes
from dashboard.shell import PageShell
from dashboard.views.frame import render_unexpected
from dashboard.wording import PRODUCT
from rnp_core import JobEngine, JobError

SCRIPT = Path(__file__).resolve().with_name("app.py")

_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "content-security-policy": (  # Streamlit has scripts in the page; nothing comes from elsewhere
        "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; "
        "base-uri 'self'; frame-ancestors 'self'"
    ),
}
_MOST_ATTEMPTS = 3
_ALL = 1_000_000


class SafeHeaders:
    """Adds headers that keep pages from being framed, sniffed or leaked."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, add if scope["type"] == "http" else send)


@asynccontextmanager
async def _lifespan(app: st.App) -> AsyncIterator[dict[str, Any]]:
    """Open the job engine with the server, go on with what a stop interrupted, and close it."""
    from dashboard import cache

    engine = await run_in_threadpool(cache.engine)
    await run_in_threadpool(go_on, engine)
    await run_in_threadpool(_tidy, engine, cache.settings().uploads)
    yield {}
    await run_in_threadpool(engine.close)


def go_on(engine: JobEngine) -> None:
    """Put scans of this home that were interrupted by a stop of the server into the queue again.

    Scans that lie outside the home belong to the command line and stay as they are.
    """
    for job in engine.jobs(state="interrupted", limit=1000):
        inside = job.run_folder.is_relative_to(engine.home)
        if inside and job.attempts < _MOST_ATTEMPTS:
            try:
                engine.resume(job.id)
            except JobError:
                continue


def _tidy(engine: JobEngine, uploads_folder: Path) -> None:
    requests = (job.request for job in engine.jobs(limit=_ALL))
    keep = {path for request in requests
            for path in (request.checkpoint, request.clean, request.suspects) if path}
    uploads.tidy(uploads_folder, keep=keep)


def make_app() -> st.App:
    """The ASGI application."""
    return st.App(
        SCRIPT,
        lifespan=_lifespan,
        routes=routes(),
        middleware=[Middleware(SafeHeaders), Middleware(PageShell, title=PRODUCT)],
        on_script_error=render_unexpected,
    )
