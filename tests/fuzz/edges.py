"""Which lines of this package follow each other while a function runs: what guides the fuzzer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import rnp_core

_PACKAGE = str(Path(rnp_core.__file__).parent)


@contextmanager
def edges() -> Iterator[set[int]]:
    """Collects a number for each pair of successive lines; the same numbers in forked children."""
    found: set[int] = set()
    last = 0

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal last
        here = hash((frame.f_code.co_filename, frame.f_lineno))
        found.add(hash((last, here)))
        last = here
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(_PACKAGE) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield found
    finally:
        sys.settrace(before)
