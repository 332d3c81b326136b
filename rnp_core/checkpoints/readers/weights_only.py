"""torch.load with weights_only=True, for files that were already found to be plain."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from rnp_core.checkpoints.global_risk import is_plain
from rnp_core.checkpoints.source import Source
from rnp_core.checkpoints.trace import Trace

_TORCH_OPCODES = frozenset(
    """
    PROTO STOP GLOBAL NEWOBJ REDUCE BUILD APPEND APPENDS SETITEM SETITEMS MARK TUPLE TUPLE1
    TUPLE2 TUPLE3 NONE NEWFALSE NEWTRUE EMPTY_TUPLE EMPTY_LIST EMPTY_DICT BINPERSID BININT
    BININT1 BININT2 BINFLOAT BINUNICODE SHORT_BINSTRING LONG1 BINGET LONG_BINGET BINPUT
    LONG_BINPUT
    """.split()  # noqa: SIM905
)


def takes_weights_only(trace: Trace) -> bool:
    """Whether a file is plain enough for torch's own reader.

    Only names that rebuild tensors and ordered dictionaries, and only opcodes that torch reads:
    what else ``weights_only=True`` allows (``bytearray(n)``, tensor constructors) allocates memory
    that the file does not have.
    """
    if trace.records or not trace.opcodes <= _TORCH_OPCODES:
        return False
    return all(is_plain(name) for name in trace.globals)


def load_weights_only(source: Source) -> Any:
    """The root object as torch reads it, on the CPU; or None when torch refuses the file."""
    source.file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(source.file, map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds; the inert reader takes over
        return None
