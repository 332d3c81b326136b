"""What the pickles of a file would import and call, collected while they are read."""

from __future__ import annotations

from dataclasses import dataclass, field

from rnp_core.checkpoints.records import GlobalName, TensorRef


@dataclass(frozen=True)
class Call:
    """A call that a full unpickling would make: the callee, an argument preview, the position."""

    function: GlobalName
    arguments: str
    position: int


@dataclass
class Trace:
    """What the pickle streams of one file would import and call, over all streams.

    Attributes:
        globals: each name with the byte position of its first use in its stream.
        calls: the first 200 calls that are not plain rebuilding.
        opcodes: names of the opcodes in use.
        steps: opcodes so far.
        extension_codes: codes of the ``copyreg`` extension registry.
        tensors: every tensor that is rebuilt, also when the pickle drops it again.
        records: calls that were not made, and states that were set on something else than a
            plain container.
        trailing_bytes: bytes behind the end of the data.
    """

    globals: dict[GlobalName, int] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    opcodes: set[str] = field(default_factory=set)
    steps: int = 0
    extension_codes: list[int] = field(default_factory=list)
    tensors: list[TensorRef] = field(default_factory=list)
    records: int = 0
    trailing_bytes: int = 0
