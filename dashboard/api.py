"""The REST route: health, and scans for other programs that use a running server.

On localhost no token is needed; elsewhere, behind a proxy and with sign-in every call but health
must send ``Authorization: Bearer TOKEN``. A call without a token must name localhost, and one that
submits must be of type ``application/json``, so that no foreign web page can make a browser send
it.
"""

from __future__ import annotations

import functools
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dashboard import uploads
from dashboard.requests import make_request
from dashboard.settings import LOCAL_HOSTS
from dashboard.state import sign_in_configured
from rnp_core import (
    PRESETS,
    DataError,
    Job,
    JobEngine,
    JobError,
    RnpError,
    __version__,
    find_demo,
    seconds_left,
)

PREFIX = "/api/v1"
_FORWARDED = {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"}
_MOST_BODY = 64 * 1024
_MOST_ROWS = 500
_LAST_OFFSET = 1 << 31
_SETTINGS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "arch": ("a text", lambda value: isinstance(value, str)),
    "num_classes": ("a whole number", lambda value: _is_whole(value)),
    "class_names": ("a list of texts", lambda value: _is_list(value, str)),
    "normalization": ("a text", lambda value: isinstance(value, str)),
    "mean": ("a list of numbers", lambda value: _is_list(value, (int, float))),
    "std": ("a list of numbers", lambda value: _is_list(value, (int, float))),
    "preset": (f"one of {', '.join(PRESETS)}", lambda value: value in PRESETS),
    "seed": ("a whole number", lambda value: _is_whole(value)),
    "repair": ("true or false", lambda value: isinstance(value, bool)),
    "title": ("a text", lambda value: isinstance(value, str)),
    "tags": ("a list of texts", lambda value: _is_list(value, str)),
    "clean": ("a text", lambda value: isinstance(value, str)),
    "suspects": ("a text", lambda value: isinstance(value, str)),
}
"""What each field of a submission must be, and a check of it."""

_OF_REQUEST = (
    "arch", "num_classes", "class_names", "normalization", "mean", "std", "preset", "seed",
    "repair",
)

Handler = Callable[[Request], Awaitable[Response]]


def _cache() -> ModuleType:
    """The caches; imported late, because they want a running server."""
    from dashboard import cache

    return cache


def _engine() -> JobEngine:
    engine: JobEngine = _cache().engine()
    return engine


class ApiError(Exception):
    """A refusal with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def routes() -> list[Route]:
    """All routes."""
    return [
        Route(f"{PREFIX}/health", health, methods=["GET"]),
        Route(f"{PREFIX}/scans", _guarded(scans), methods=["GET"]),
        Route(f"{PREFIX}/scans", _guarded(submit), methods=["POST"]),
        Route(f"{PREFIX}/scans/{{job}}", _guarded(scan), methods=["GET"]),
        Route(f"{PREFIX}/scans/{{job}}", _guarded(cancel), methods=["DELETE"]),
        Route(f"{PREFIX}/scans/{{job}}/report", _guarded(report), methods=["GET"]),
    ]


async def health(request: Request) -> Response:
    """Whether the server works: version, and why waiting scans do not run, if so."""
    problem = (await run_in_threadpool(_engine)).problem
    return JSONResponse({"status": "ok" if not problem else "degraded", "version": __version__})


async def scans(request: Request) -> Response:
    """Scans, newest first; ``state``, ``verdict``, ``sha256``, ``text``, ``limit``, ``offset``."""
    query = request.query_params
    limit, offset = _whole(query.get("limit", "100")), _whole(query.get("offset", "0"))
    rows = await run_in_threadpool(
        functools.partial(
            _engine().jobs,
            state=query.get("state"),  # type: ignore[arg-type]
            verdict=query.get("verdict"),  # type: ignore[arg-type]
            sha256=query.get("sha256"),
            text=query.get("text", ""),
            limit=min(limit, _MOST_ROWS),
            offset=min(offset, _LAST_OFFSET),
        )
    )
    return JSONResponse({"scans": [describe(job) for job in rows]})


async def submit(request: Request) -> Response:
    """Put a scan into the queue. The body is JSON: ``model`` (``demo:NAME``, or a path below the
    server folder), ``clean`` and ``suspects`` (such paths), ``title``, ``tags`` and settings."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise ApiError(415, "expected a body of type application/json")
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > _MOST_BODY:
            raise ApiError(413, f"expected a body of at most {_MOST_BODY} bytes")
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "expected JSON") from None
    if not isinstance(data, dict) or not isinstance(data.get("model"), str):
        raise ApiError(400, "expected an object with a text 'model'")
    job = await run_in_threadpool(_submit, data)
    return JSONResponse(describe(job), status_code=201)


def _submit(data: dict[str, Any]) -> Job:
    _check_fields(data)
    folder = _cache().settings().models

    def place(name: str) -> str | None:
        return str(uploads.confine(data[name], folder)) if data.get(name) else None

    clean, suspects = place("clean"), place("suspects")
    if data["model"].startswith("demo:"):
        demo = find_demo(data["model"].removeprefix("demo:"))
        model, clean = str(demo.checkpoint), clean or str(demo.clean)
        suspects = suspects or (str(demo.suspects) if demo.suspects else None)
    else:
        model = str(uploads.confine(data["model"], folder))
    settings = {name: data[name] for name in _OF_REQUEST if data.get(name) is not None}
    request = make_request(model, clean, suspects, **settings)
    engine = _engine()
    job_id = engine.submit(
        request, title=data.get("title", "")[:200], tags=data.get("tags", [])[:20]
    )
    return engine.job(job_id)


def _check_fields(data: dict[str, Any]) -> None:
    known = {"model", *_SETTINGS}
    unknown = sorted(set(data) - known)
    if unknown:
        raise ApiError(400, f"unknown: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    for name, (wanted, fits) in _SETTINGS.items():
        if data.get(name) is not None and not fits(data[name]):
            raise ApiError(400, f"expected {wanted} as {name}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_list(value: Any, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


async def scan(request: Request) -> Response:
    """One scan with its state."""
    job = await run_in_threadpool(_job, request.path_params["job"])
    events = await run_in_threadpool(_engine().events, job.id)
    left = seconds_left(reversed(events), time.time()) if job.state == "running" else None
    return JSONResponse({**describe(job), "seconds_left": left})


async def cancel(request: Request) -> Response:
    """Cancel a waiting or running scan."""
    job = await run_in_threadpool(_job, request.path_params["job"])
    await run_in_threadpool(_engine().cancel, job.id)
    return JSONResponse(describe(await run_in_threadpool(_job, job.id)))


async def report(request: Request) -> Response:
    """``report.json`` of a finished scan."""
    job = await run_in_threadpool(_job, request.path_params["job"])
    if job.state != "done":
        raise ApiError(409, f"the scan is {job.state}; there is no report yet")
    found = await run_in_threadpool(_cache().run, job.run_folder)
    return Response(found.report.to_json(), media_type="application/json")


def describe(job: Job) -> dict[str, Any]:
    """A job for other programs."""
    return {
        "id": job.id,
        "title": job.title,
        "state": job.state,
        "stage": job.stage,
        "fraction": job.fraction,
        "error": job.error,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "checkpoint_sha256": job.checkpoint_sha256,
        "checkpoint_name": job.checkpoint_name,
        "preset": job.request.preset,
        "seed": job.request.seed,
        "verdict": job.verdict,
        "backdoor_score": job.backdoor_score,
        "suspected_target_labels": list(job.suspected_target_labels),
        "tags": list(job.tags),
        "disposition": job.disposition.disposition if job.disposition else None,
    }


def _job(job_id: str) -> Job:
    try:
        return _engine().job(job_id)
    except JobError:
        raise ApiError(404, "there is no such scan") from None


def _guarded(handler: Handler) -> Handler:
    """Check the caller first; every expected error becomes JSON."""

    @functools.wraps(handler)
    async def call(request: Request) -> Response:
        try:
            _check_caller(request)
            return await handler(request)
        except ApiError as error:
            return JSONResponse({"error": str(error)}, status_code=error.status)
        except (DataError, RnpError) as error:
            return JSONResponse({"error": str(error)}, status_code=422)

    return call


def _check_caller(request: Request) -> None:
    settings = _cache().settings()
    if settings.token:
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {settings.token}".encode()):
            raise ApiError(401, "expected the header Authorization: Bearer TOKEN")
    elif not settings.is_local or sign_in_configured():
        raise ApiError(403, "the server is not for this machine alone and has no token; set "
                       "RNP_TOKEN")
    elif request.url.hostname not in LOCAL_HOSTS or not _FORWARDED.isdisjoint(request.headers):
        raise ApiError(403, "expected a direct call to localhost; behind a proxy set RNP_TOKEN")


def _whole(text: str) -> int:
    try:
        return max(0, int(text))
    except ValueError:
        raise ApiError(400, f"expected a whole number, got {text[:20]!r}") from None
