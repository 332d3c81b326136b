"""The JSON Schema of ``report.json``, made from the classes of :mod:`rnp_core.report`.

``docs/report.schema.json`` is the published copy; a test keeps the two alike.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Literal

from rnp_core.report import SCHEMA_VERSION, ScanReport

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Any: {},
}


def report_schema() -> dict[str, Any]:
    """A schema of draft 2020-12; fields that it does not know are allowed."""
    definitions: dict[str, Any] = {}
    root = _class(ScanReport, definitions)
    root["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    root["required"] = sorted({*root["required"], "schema_version"})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Report of an RNP scan",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _class(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)
    schema = {
        "type": "object",
        "description": (cls.__doc__ or "").strip().splitlines()[0],
        "properties": {item.name: _schema(hints[item.name], definitions) for item in fields},
        "required": [
            item.name
            for item in fields
            if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        ],
    }
    if cls is not ScanReport:
        definitions[cls.__name__] = schema
    return schema


def _schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    if dataclasses.is_dataclass(hint):
        cls = typing.cast(type, hint)
        if cls.__name__ not in definitions:
            _class(cls, definitions)
        return {"$ref": f"#/$defs/{cls.__name__}"}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if origin in (types.UnionType, typing.Union):
        return {
            "anyOf": [
                {"type": "null"} if part is type(None) else _schema(part, definitions)
                for part in arguments
            ]
        }
    raise TypeError(f"expected a type of JSON values, got {hint!r}")
