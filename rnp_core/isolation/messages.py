"""What a child tells its parent: one JSON object a line. The parent trusts none of it.

The four kinds are ``started`` (which protection is on), ``progress``, ``result`` and ``error``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rnp_core import errors
from rnp_core.errors import IsolationError, IsolationReason, RnpError
from rnp_core.progress import Progress

LINE_BYTES = 64 << 20
"""Longest message; the tensor table of a large network is the longest honest one."""

_TEXT = 4000
_VALUES = 100_000


@dataclass(frozen=True)
class Started:
    """The child is confined; ``protection`` is plain values of :class:`.confine.Protection`."""

    protection: dict[str, Any]


@dataclass(frozen=True)
class Finished:
    """The task's result."""

    value: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """The task raised ``error``."""

    error: RnpError


Message = Started | Progress | Finished | Failed


def encode(kind: str, value: Mapping[str, Any]) -> bytes:
    """One message as a line."""
    return json.dumps({"kind": kind, **value}).encode() + b"\n"


def encode_progress(progress: Progress) -> bytes:
    """A progress report as a line."""
    return encode("progress", {"progress": asdict(progress)})


def encode_error(error: BaseException) -> bytes:
    """An exception as a line: an expected error keeps its class, a surprise becomes a crash."""
    if isinstance(error, RnpError):
        known = next(c.__name__ for c in type(error).__mro__ if getattr(errors, c.__name__, 0) is c)
        reason = getattr(error, "reason", "")
        return encode("error", {"class": known, "message": str(error), "reason": reason})
    if errors.is_out_of_memory(error):
        text = "out of memory; raise the memory limit, or use fewer or smaller images"
        return encode("error", {"class": "IsolationError", "message": text, "reason": "memory"})
    text = f"the work stopped at an unexpected error: {type(error).__name__}: {error}"
    return encode("error", {"class": "IsolationError", "message": text, "reason": "crash"})


def decode(line: bytes | bytearray) -> Message:
    """The message on a line.

    Raises:
        ValueError: when the line is no message.
    """
    try:
        data = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    kind = data.get("kind") if isinstance(data, dict) else None
    if kind == "started" and isinstance(data.get("protection"), dict):
        return Started(data["protection"])
    if kind == "progress" and isinstance(data.get("progress"), dict):
        return _progress(data["progress"])
    if kind == "result" and isinstance(data.get("value"), dict):
        return Finished(data["value"])
    if kind == "error":
        return Failed(_error(data))
    raise ValueError("not one of the four kinds of message")


def _progress(data: dict[str, Any]) -> Progress:
    stage, message = data.get("stage"), data.get("message", "")
    step, total, values = data.get("step"), data.get("total"), data.get("values", {})
    texts = isinstance(stage, str) and isinstance(message, str)
    if not (texts and isinstance(step, int) and isinstance(total, int)):
        raise ValueError("a progress report of the wrong form")
    if not isinstance(values, dict):
        raise ValueError("a progress report without values")
    for value in values.values():
        numbers = value if isinstance(value, list) else [value]
        if len(numbers) > _VALUES or any(type(n) not in (int, float) for n in numbers):
            raise ValueError("a progress report whose values are no numbers")
    return Progress(_clean(stage), step, total, _clean(message), values)


def _error(data: dict[str, Any]) -> RnpError:
    name, message, reason = data.get("class"), data.get("message"), data.get("reason")
    known = getattr(errors, name, None) if isinstance(name, str) else None
    if not (isinstance(known, type) and issubclass(known, RnpError) and isinstance(message, str)):
        raise ValueError("an error of an unknown class")
    if issubclass(known, IsolationError):
        reasons: dict[Any, IsolationReason] = {"memory": "memory"}
        return known(_clean(message), reason=reasons.get(reason, "crash"))
    return known(_clean(message))


def _clean(text: Any) -> str:
    """Text without control characters, of bounded length; line breaks stay."""
    short = text if len(text) <= _TEXT else text[:_TEXT] + " ..."
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in short)
