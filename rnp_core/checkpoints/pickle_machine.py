"""A pickle interpreter that imports nothing and calls nothing.

It follows the opcodes of the pickle virtual machine (``Lib/pickletools.py``), but a global becomes
a :class:`~rnp_core.checkpoints.records.GlobalName`, and a call a
:class:`~rnp_core.checkpoints.records.CallRecord`. The few calls that rebuild tensors and plain
containers go through :mod:`rnp_core.checkpoints.rebuild`, our own code.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from rnp_core.checkpoints.bounded_stream import BoundedStream
from rnp_core.checkpoints.limits import ReadLimits
from rnp_core.checkpoints.rebuild import rebuild
from rnp_core.checkpoints.records import CallRecord, GlobalName, TensorRef, plain_key, preview
from rnp_core.checkpoints.trace import Call, Trace
from rnp_core.errors import CheckpointError

_MARK = object()
_CALLS_KEPT = 200
_LITERALS = frozenset(
    """
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 STRING BINSTRING SHORT_BINSTRING BINBYTES
    SHORT_BINBYTES BINBYTES8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 FLOAT BINFLOAT
    """.split()  # noqa: SIM905
)
_STRINGS = frozenset(("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"))
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


PersistentLoad = Callable[[Any], Any]


class PickleMachine:
    """Runs one pickle stream. Never leaves Python values of the standard containers and records.

    Args:
        file: positioned at the start of the stream; read no further than its STOP.
        end: position in ``file`` that must not be passed.
        limits: bounds on size, steps and strings.
        trace: filled while running; kept when the stream turns out to be malformed.
        persistent_load: turns a persistent id into a value; it must only look at it.
    """

    def __init__(
        self,
        file: BinaryIO,
        end: int,
        *,
        limits: ReadLimits,
        trace: Trace,
        persistent_load: PersistentLoad | None = None,
    ) -> None:
        self._limits = limits
        self._trace = trace
        self._persistent_load = persistent_load
        self._stream = BoundedStream(file, end, limits)
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._marks = 0

    def load(self) -> Any:
        """The value of the stream.

        Raises:
            CheckpointError: when the stream is malformed or passes a limit. The trace then still
                holds the names in the rest of the stream.
        """
        tokens = pickletools.genops(cast(BinaryIO, self._stream))
        texts: list[str] = []
        try:
            for opcode, argument, position in tokens:
                self._count(opcode.name)
                if opcode.name in _STRINGS:
                    texts = [*texts[-1:], str(argument)]
                if opcode.name == "STOP":
                    return self._pop()
                self._step(opcode.name, argument, position or 0)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, EOFError) as error:
            self._collect_rest(tokens, texts)
            raise CheckpointError(f"malformed pickle: {preview(str(error))}") from error
        except CheckpointError:
            self._collect_rest(tokens, texts)
            raise
        raise CheckpointError("malformed pickle: it has no end")

    def _count(self, name: str) -> None:
        self._trace.opcodes.add(name)
        self._charge(1)

    def _charge(self, steps: int) -> None:
        self._trace.steps += steps
        if self._trace.steps > self._limits.pickle_steps:
            raise CheckpointError(
                f"expected at most {self._limits.pickle_steps} pickle opcodes, got more"
            )

    def _collect_rest(self, tokens: Any, texts: list[str]) -> None:
        """Names after the point where reading stopped: a lenient reader might get there."""
        try:
            for opcode, argument, position in tokens:
                self._count(opcode.name)
                if opcode.name in _STRINGS:
                    texts = [*texts[-1:], str(argument)]
                elif opcode.name in ("GLOBAL", "INST"):
                    self._global(*_split_global(argument), position or 0)
                elif opcode.name == "STACK_GLOBAL" and len(texts) == 2:
                    self._global(texts[0], texts[1], position or 0)
        except (ValueError, IndexError, TypeError, OverflowError, CheckpointError):
            return

    def _step(self, name: str, argument: Any, position: int) -> None:
        stack = self._stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MARK":
            self._marks += 1
            if self._marks > self._limits.depth:
                raise CheckpointError(
                    f"expected at most {self._limits.depth} nested containers, got more"
                )
            stack.append(_MARK)
        elif name in _HANDLERS:
            _HANDLERS[name](self, argument)
        elif name in ("GLOBAL", "INST", "STACK_GLOBAL"):
            self._name(name, argument, position)
        elif name in ("REDUCE", "NEWOBJ"):
            arguments = self._pop()
            self._call(self._pop(), arguments, {}, position)
        elif name == "NEWOBJ_EX":
            keywords, arguments = self._pop(), self._pop()
            self._call(self._pop(), arguments, keywords, position)
        elif name == "OBJ":
            values = self._pop_mark()
            self._call(values[0], tuple(values[1:]), {}, position)
        elif name in ("EXT1", "EXT2", "EXT4"):
            self._trace.extension_codes.append(argument)
            stack.append(self._global("copyreg", f"extension_{argument}", position))
        elif name in ("PERSID", "BINPERSID"):
            if self._persistent_load is None:
                raise ValueError("a persistent id where none is expected")
            stack.append(self._persistent_load(argument if name == "PERSID" else self._pop()))
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"opcode {name} is not supported")

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value is expected")
        return value

    def _top(self) -> Any:
        value = self._stack[-1]
        if value is _MARK:
            raise ValueError("a mark where a value is expected")
        return value

    def _pop_mark(self) -> list[Any]:
        stack = self._stack
        for index in range(len(stack) - 1, -1, -1):
            if stack[index] is _MARK:
                values = stack[index + 1 :]
                del stack[index:]
                self._marks -= 1
                return values
        raise ValueError("no mark on the stack")

    def _global(self, module: Any, name: Any, position: int) -> GlobalName:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a global whose name is not text")
        found = GlobalName(module, name)
        self._trace.globals.setdefault(found, position)
        return found

    def _name(self, opcode: str, argument: Any, position: int) -> None:
        if opcode == "STACK_GLOBAL":
            name, module = self._pop(), self._pop()
            self._stack.append(self._global(module, name, position))
            return
        found = self._global(*_split_global(argument), position)
        if opcode == "GLOBAL":
            self._stack.append(found)
        else:
            self._call(found, tuple(self._pop_mark()), {}, position)

    def _call(self, function: Any, arguments: Any, keywords: Any, position: int) -> None:
        if not isinstance(arguments, tuple):
            raise ValueError("a call whose arguments are not a tuple")
        if keywords:
            self._trace.records += 1
            self._stack.append(CallRecord(function, arguments, state=keywords))
            return
        value = rebuild(function, arguments, charge=self._charge)
        if isinstance(value, TensorRef) and arguments[0] is not value:
            self._trace.tensors.append(value)
        self._trace.records += isinstance(value, CallRecord)
        calls = self._trace.calls
        if isinstance(value, CallRecord) and value.class_name and len(calls) < _CALLS_KEPT:
            calls.append(Call(function, preview(arguments), position))
        self._stack.append(value)

    def _put(self, index: Any) -> None:
        self._memo[int(index)] = self._top()

    def _get(self, index: Any) -> None:
        self._stack.append(self._memo[int(index)])

    def _append(self, values: list[Any]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, CallRecord):
            target.items.extend(values)
        else:
            raise ValueError(f"appending to {type(target).__name__}")

    def _set_items(self, values: list[Any]) -> None:
        target = self._top()
        if len(values) % 2:
            raise ValueError("a key without a value")
        pairs = list(zip(values[::2], values[1::2], strict=True))
        if isinstance(target, dict):
            for key, value in pairs:
                target[plain_key(key)] = value
        elif isinstance(target, CallRecord):
            target.entries.extend(pairs)
        else:
            raise ValueError(f"setting an item of {type(target).__name__}")

    def _build(self) -> None:
        state = self._pop()
        target = self._top()
        self._trace.records += not isinstance(target, dict)
        if isinstance(target, CallRecord):
            target.state = state

    def _pop_one(self) -> None:
        if self._stack.pop() is _MARK:
            self._marks -= 1

    def _forget_mark(self) -> None:
        self._pop_mark()

    def _tuple_of(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self._stack.append(tuple(reversed(values)))

    def _pair(self) -> list[Any]:
        value = self._pop()
        return [self._pop(), value]

    def _dictionary(self) -> None:
        values = self._pop_mark()
        self._stack.append({})
        self._set_items(values)


def _split_global(argument: str) -> tuple[str, str]:
    """Module and name of a GLOBAL or INST argument, which genops joins with a space."""
    module, _, name = argument.rpartition(" ")
    return module, name


_HANDLERS: dict[str, Callable[[PickleMachine, Any], None]] = {
    "EMPTY_LIST": lambda m, a: m._stack.append([]),
    "EMPTY_TUPLE": lambda m, a: m._stack.append(()),
    "EMPTY_DICT": lambda m, a: m._stack.append({}),
    "EMPTY_SET": lambda m, a: m._stack.append([]),
    "BYTEARRAY8": lambda m, a: m._stack.append(bytes(a)),
    "LIST": lambda m, a: m._stack.append(m._pop_mark()),
    "TUPLE": lambda m, a: m._stack.append(tuple(m._pop_mark())),
    "TUPLE1": lambda m, a: m._tuple_of(1),
    "TUPLE2": lambda m, a: m._tuple_of(2),
    "TUPLE3": lambda m, a: m._tuple_of(3),
    "FROZENSET": lambda m, a: m._stack.append(tuple(m._pop_mark())),
    "DICT": lambda m, a: m._dictionary(),
    "APPEND": lambda m, a: m._append([m._pop()]),
    "APPENDS": lambda m, a: m._append(m._pop_mark()),
    "ADDITEMS": lambda m, a: m._append(m._pop_mark()),
    "SETITEM": lambda m, a: m._set_items(m._pair()),
    "SETITEMS": lambda m, a: m._set_items(m._pop_mark()),
    "BUILD": lambda m, a: m._build(),
    "POP": lambda m, a: m._pop_one(),
    "POP_MARK": lambda m, a: m._forget_mark(),
    "DUP": lambda m, a: m._stack.append(m._top()),
    "PUT": lambda m, a: m._put(a),
    "BINPUT": lambda m, a: m._put(a),
    "LONG_BINPUT": lambda m, a: m._put(a),
    "MEMOIZE": lambda m, a: m._put(len(m._memo)),
    "GET": lambda m, a: m._get(a),
    "BINGET": lambda m, a: m._get(a),
    "LONG_BINGET": lambda m, a: m._get(a),
}
