"""Dataclasses as JSON values and back, with every value checked: what comes back was untrusted.

Only the types that JSON knows are read: text, numbers, truth values, lists, dictionaries, and
dataclasses of them.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from rnp_core.errors import ReportError

MOST_NESTED = 32
"""Deepest nesting of values without a declared type, such as the evidence of a finding."""

_MOST_INTEGER = 2**63
_NAMES: dict[Any, str] = {
    str: "text", int: "an integer", float: "a number", bool: "true or false",
}  # fmt: skip

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """``value`` with tuples as lists, keys as text, and NaN and infinity as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def from_plain(cls: type[T], data: Any, where: str) -> T:
    """A dataclass from its dictionary, nested ones included; unknown keys are left out.

    A number that is null, which is how NaN and infinity are written, comes back as NaN.

    Args:
        where: name of ``data`` in errors.

    Raises:
        ReportError: when a field is missing, or a value has another type than declared.
    """
    if not isinstance(data, Mapping):
        raise ReportError(f"expected an object at {where}, got {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    values = {}
    for item in dataclasses.fields(cls):  # type: ignore[arg-type]
        if item.name in data:
            values[item.name] = _value(hints[item.name], data[item.name], f"{where}.{item.name}")
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise ReportError(f"expected a field {item.name!r} at {where}, found none")
    return cls(**values)


def _value(hint: Any, data: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type, hint), data, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        if not isinstance(data, list):
            raise ReportError(f"expected a list at {where}, got {type(data).__name__}")
        return [_value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(data)]
    if origin is dict:
        if not isinstance(data, dict):
            raise ReportError(f"expected an object at {where}, got {type(data).__name__}")
        return {key: _value(arguments[1], item, f"{where}.{key}") for key, item in data.items()}
    if origin in (types.UnionType, typing.Union):
        if data is None:
            return None
        return _value(next(a for a in arguments if a is not type(None)), data, where)
    if origin is Literal:
        if data not in arguments:
            known = ", ".join(arguments)
            raise ReportError(f"expected one of {known} at {where}, got {str(data)[:80]!r}")
        return data
    return _free(data, where, MOST_NESTED) if hint is Any else _single(hint, data, where)


def _single(hint: Any, data: Any, where: str) -> Any:
    """A text, number or truth value."""
    if hint is float:
        if data is None or (isinstance(data, float) and not math.isfinite(data)):
            return math.nan
        if isinstance(data, int) and not isinstance(data, bool) and abs(data) < _MOST_INTEGER:
            return float(data)
    if hint is int and isinstance(data, float) and data.is_integer():
        data = int(data)
    fits = isinstance(data, hint) and isinstance(data, bool) == (hint is bool)
    if not fits or (hint is int and abs(data) >= _MOST_INTEGER):
        raise ReportError(f"expected {_NAMES[hint]} at {where}, got {str(data)[:80]!r}")
    return data


def _free(data: Any, where: str, depth: int) -> Any:
    """A value without a declared type: any JSON, not too deep, with finite numbers."""
    if depth == 0:
        raise ReportError(f"expected at most {MOST_NESTED} levels at {where}, got more")
    if isinstance(data, dict):
        return {key: _free(item, where, depth - 1) for key, item in data.items()}
    if isinstance(data, list):
        return [_free(item, where, depth - 1) for item in data]
    return to_plain(data)
