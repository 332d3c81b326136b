"""Inert stand-ins for what a pickle names, calls and stores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class GlobalName:
    """A name that a full unpickling would import. It is only text here."""

    module: str
    name: str

    @property
    def dotted(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class CallRecord:
    """An object that a full unpickling would make by calling ``function``; here nothing is called.

    Attributes:
        function: what would be called: a :class:`GlobalName`, or any other value of the pickle.
        args: its arguments.
        state: what would be given to ``__setstate__`` or ``__dict__``, or None.
        items: what would be appended.
        entries: key and value pairs that would be set.
    """

    function: Any
    args: tuple[Any, ...]
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: list[tuple[Any, Any]] = field(default_factory=list)

    @property
    def class_name(self) -> str:
        """Dotted name of what would be called, or ``""`` when that is not a plain name."""
        return self.function.dotted if isinstance(self.function, GlobalName) else ""


@dataclass(frozen=True)
class StorageRef:
    """A declared tensor storage.

    Attributes:
        key: name of the storage in its container.
        dtype: type of its elements.
        start: first element of a view into the storage (legacy container), else 0.
        length: number of elements from ``start``, as declared.
        declared: number of elements of the whole storage, as declared.
    """

    key: str
    dtype: torch.dtype
    start: int
    length: int
    declared: int


@dataclass(frozen=True, eq=False)
class TensorRef:
    """A declared tensor: where its values are, not yet read.

    ``shape``, ``stride`` and ``offset`` count elements of ``dtype`` in ``storage``.
    """

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @property
    def elements(self) -> int:
        """Number of elements with expanded strides."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def end(self) -> int:
        """One past the last element of the storage that the tensor reaches."""
        if 0 in self.shape:
            return self.offset
        reach = ((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        return self.offset + sum(reach) + 1


_KEY_TYPES = (str, bytes, int, float, GlobalName, CallRecord)  # records hash by identity


def plain_key(key: Any) -> Any:
    """``key`` when it is a scalar or a record, whose hashes hardly collide.

    Raises:
        ValueError: for anything else.
    """
    large = isinstance(key, int) and key.bit_length() > 63
    if large or not (key is None or isinstance(key, _KEY_TYPES)):
        raise ValueError(f"a dictionary key of type {type(key).__name__} that is not plain")
    return key


def preview(value: Any, *, length: int = 200, depth: int = 3) -> str:
    """A short, safe text of a pickle value: bounded in length and depth, always valid Unicode."""
    return printable(_preview(value, length, depth))[:length]


def printable(text: str) -> str:
    """``text`` without lone surrogates and control characters (escaped instead)."""
    if text.isprintable():
        return text
    escaped = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped)


def _preview(value: Any, length: int, depth: int) -> str:
    if isinstance(value, (str, bytes, bytearray)):
        return repr(value[:length])
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"integer of {value.bit_length()} bits"
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, GlobalName):
        return value.dotted[:length]
    if isinstance(value, TensorRef):
        return f"tensor{value.shape[:8]}"
    if depth == 0:
        return "..."
    if isinstance(value, CallRecord):
        arguments = _preview(value.args, length, depth - 1)
        return f"{_preview(value.function, length, depth - 1)}{arguments}"
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(_preview(v, length, depth - 1) for v in value[:5]) + ")"
    if isinstance(value, dict):
        return f"dict of {len(value)}"
    return type(value).__name__
