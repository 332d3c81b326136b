"""The only module that touches ``st.session_state`` and the address."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import uploads
from rnp_core import JobEngine, JobEvent

PAGES = {
    "scan": "app_pages/scan.py",
    "live": "app_pages/live.py",
    "verdict": "app_pages/verdict.py",
    "history": "app_pages/history.py",
    "compare": "app_pages/compare.py",
    "fleet": "app_pages/fleet.py",
    "help": "app_pages/help.py",
}
"""Page scripts by the name that they have in addresses."""


def go(page: str, **parameters: str) -> None:
    """Open a page; does not return."""
    st.switch_page(PAGES[page], query_params=parameters)


def parameter(name: str) -> str:
    """A parameter of the address, empty where there is none; untrusted text."""
    return str(st.query_params.get(name, ""))[:200]


def set_parameter(name: str, value: str) -> None:
    """Change a parameter of the address that no widget is bound to."""
    if value:
        st.query_params[name] = value
    elif name in st.query_params:
        del st.query_params[name]


def linked(name: str, value: Any) -> dict[str, Any]:
    """Options ``key`` and ``on_change`` that tie a widget to a parameter of the address.

    The address decides: the widget shows ``value``, which the caller read from it, and a change of
    the widget goes into the address.
    """
    key = f"url_{name}"
    st.session_state[key] = value
    return {"key": key, "on_change": _write_address, "args": (name,)}


def _write_address(name: str) -> None:
    value = st.session_state[f"url_{name}"]
    set_parameter(name, "" if value is None else str(value))


def one_of(name: str, allowed: Collection[str], default: str) -> str:
    """A parameter of the address, or ``default`` where it is missing or unknown."""
    value = parameter(name)
    return value if value in allowed else default


def whole(name: str, allowed: Collection[int]) -> int | None:
    """A whole number of the address, None where it is missing or not allowed."""
    value = parameter(name)
    number = int(value) if value.isdecimal() and len(value) < 10 else None
    return number if number is not None and number in allowed else None


def share(name: str) -> float | None:
    """A number from 0 to 1 of the address, None where it is missing or no such number."""
    try:
        number = float(parameter(name))
    except ValueError:
        return None
    return number if 0 <= number <= 1 else None


def get(name: str, default: Any = None) -> Any:
    """A value of this session."""
    return st.session_state.get(name, default)


def put(name: str, value: Any) -> None:
    """Keep a value for this session; of a widget only before it is drawn, or in a callback."""
    st.session_state[name] = value


def take(name: str) -> Any:
    """A value of this session, which is dropped with this."""
    return st.session_state.pop(name, None)


def kept_upload(file: Any, folder: Path) -> tuple[Path, str]:
    """Path and SHA-256 of an uploaded file, which is written to ``folder`` once.

    Raises:
        DataError: see :func:`dashboard.uploads.store`.
    """
    kept = st.session_state.setdefault("kept-uploads", {})
    if file.file_id not in kept or not kept[file.file_id][0].exists():
        file.seek(0)
        kept[file.file_id] = uploads.store(file, file.name, folder)
    return kept[file.file_id]


def kept_folder(files: Sequence[Any], folder: Path) -> Path:
    """Path of an uploaded folder of pictures, which is written to ``folder`` once.

    Raises:
        DataError: see :func:`dashboard.uploads.store_folder`.
    """
    kept = st.session_state.setdefault("kept-uploads", {})
    name = tuple(sorted(file.file_id for file in files))
    if name not in kept or not kept[name].exists():
        kept[name] = uploads.store_folder(
            [(file.name, file.getvalue()) for file in files], folder,
            most_megabytes=st.get_option("server.maxUploadSize"),
        )
    return kept[name]


def forget(*names: str) -> None:
    """Drop values of this session."""
    for name in names:
        st.session_state.pop(name, None)


def events(engine: JobEngine, job_id: str) -> list[JobEvent]:
    """All events of a job; only new ones are read."""
    known: Mapping[str, Any] = st.session_state.get("events", {})
    rows: list[JobEvent] = known["rows"] if known.get("job") == job_id else []
    fresh = engine.events(job_id, after=rows[-1].seq if rows else 0)
    rows = [*rows, *fresh]
    st.session_state["events"] = {"job": job_id, "rows": rows}
    return rows


def reviewer() -> str:
    """Name of the person: from the sign-in where there is one, else as typed in before."""
    if signed_in():
        return str(st.user.get("name") or st.user.get("email") or "signed-in user")
    return str(st.session_state.get("reviewer_name", ""))


def sign_in_configured() -> bool:
    """Whether the server has an OIDC provider."""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False


def signed_in() -> bool:
    """Whether the person signed in with the provider."""
    return sign_in_configured() and bool(st.user.is_logged_in)
