"""A pickle interpreter that imports nothing and calls nothing.

It follows the opcodes of the pickle virtual machine (``Lib/pickletools.py``), but a global becomes
a :class:`~rnp_core.checkpoints.records.GlobalName`, and a call a
:class:`~rnp_core.checkpoints.records.CallRecord`. The few calls that rebuild tensors and plain
containers go through :mod:`rnp_core.checkpoints.rebuild`, our own code.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from rnp_core.checkpoints.limits import ReadLimits
from rnp_core.checkpoints.rebuild import rebuild
from rnp_core.checkpoints.records import CallRecord, GlobalName, TensorRef, plain_key, preview
from rnp_core.checkpoints.trace import Call, Trace
from rnp_core.errors import CheckpointError

_MARK = object()
_CALLS_KEPT = 200
_LONGEST_NAME = 1000  # characters of a name to import; the rest of a longer one is cut off
_TEXTS = frozenset(("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"))
_MALFORMED = (ValueError, IndexError, KeyError, TypeError, OverflowError, EOFError)

PersistentLoad = Callable[[Any], Any]
_Tokens = Iterator[tuple[Any, Any, Any]]


class PickleMachine:
    """Runs one pickle stream. Never leaves Python values of the standard containers and records.

    Args:
        stream: positioned at the start of the pickle; read no further than its STOP. It must not
            give more bytes than it holds, whatever length is asked for (``io.BytesIO``,
            :class:`~rnp_core.checkpoints.bounded_stream.BoundedStream`).
        limits: bounds on steps and depth.
        trace: filled while running; kept when the stream turns out to be malformed.
        persistent_load: turns a persistent id into a value; it must only look at it.
    """

    def __init__(
        self,
        stream: BinaryIO,
        *,
        limits: ReadLimits,
        trace: Trace,
        persistent_load: PersistentLoad | None = None,
    ) -> None:
        self._stream = stream
        self._limits = limits
        self._trace = trace
        self._persistent_load = persistent_load
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._marks = 0
        self._position = 0

    def load(self) -> Any:
        """The value of the stream.

        Raises:
            CheckpointError: when the stream is malformed or passes a limit. The trace then still
                holds the names in the rest of the stream.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # odd escapes in old text opcodes
            return self._run(pickletools.genops(self._stream))

    def _run(self, tokens: _Tokens) -> Any:
        texts: list[str] = []
        seen = self._trace.opcodes
        try:
            for opcode, argument, position in tokens:
                name = opcode.name
                self._charge(1)
                if name == "STOP":
                    return self._pop()
                if name not in seen:
                    seen.add(name)
                if name in _TEXTS:
                    texts = [*texts[-1:], argument]
                self._position = position
                _HANDLERS[name](self, argument)
        except _MALFORMED as error:
            self._collect_rest(tokens, texts)
            raise CheckpointError(f"malformed pickle: {_reason(error)}") from error
        except CheckpointError:
            self._collect_rest(tokens, texts)
            raise
        raise CheckpointError("malformed pickle: it has no end")

    def _charge(self, steps: int) -> None:
        self._trace.steps += steps
        if self._trace.steps > self._limits.pickle_steps:
            raise CheckpointError(
                f"expected at most {self._limits.pickle_steps} pickle opcodes, got more"
            )

    def _collect_rest(self, tokens: _Tokens, texts: list[str]) -> None:
        """Names after the point where reading stopped: a lenient reader might get there."""
        try:
            for opcode, argument, position in tokens:
                self._charge(1)
                self._position = position
                if opcode.name in _TEXTS:
                    texts = [*texts[-1:], argument]
                elif opcode.name in ("GLOBAL", "INST"):
                    self._global(*_split_global(argument))
                elif opcode.name == "STACK_GLOBAL" and len(texts) == 2:
                    self._global(texts[0], texts[1])
        except (*_MALFORMED, CheckpointError):
            return

    def _literal(self, argument: Any) -> None:
        self._stack.append(argument)

    def _mark(self) -> None:
        self._marks += 1
        if self._marks > self._limits.depth:
            raise CheckpointError(
                f"expected at most {self._limits.depth} nested containers, got more"
            )
        self._stack.append(_MARK)

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

    def _global(self, module: Any, name: Any) -> GlobalName:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a global whose name is not text")
        found = GlobalName(module[:_LONGEST_NAME], name[:_LONGEST_NAME])
        self._trace.globals.setdefault(found, self._position)
        if len(self._trace.globals) > self._limits.global_names:
            raise CheckpointError(
                f"expected at most {self._limits.global_names} different names to import, got more"
            )
        return found

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._stack.append(self._global(module, name))

    def _extension(self, code: int) -> None:
        self._trace.extension_codes.append(code)
        self._stack.append(self._global("copyreg", f"extension_{code}"))

    def _persistent(self, saved: Any) -> None:
        if self._persistent_load is None:
            raise ValueError("a persistent id where none is expected")
        self._stack.append(self._persistent_load(saved))

    def _reduce(self) -> None:
        arguments = self._pop()
        self._call(self._pop(), arguments)

    def _new_with_keywords(self) -> None:
        keywords, arguments, function = self._pop(), self._pop(), self._pop()
        self._call(function, arguments)
        created = self._top()
        if isinstance(created, CallRecord):
            created.state = keywords

    def _object(self) -> None:
        values = self._pop_mark()
        self._call(values[0], tuple(values[1:]))

    def _instance(self, argument: str) -> None:
        self._call(self._global(*_split_global(argument)), tuple(self._pop_mark()))

    def _call(self, function: Any, arguments: Any) -> None:
        if not isinstance(arguments, tuple):
            raise ValueError("a call whose arguments are not a tuple")
        value = rebuild(function, arguments, charge=self._charge)
        if isinstance(value, TensorRef) and arguments[0] is not value:
            self._trace.tensors.append(value)
            if len(self._trace.tensors) > self._limits.tensors:
                raise CheckpointError(f"expected at most {self._limits.tensors} tensors, got more")
        self._trace.records += isinstance(value, CallRecord)
        calls = self._trace.calls
        if isinstance(value, CallRecord) and value.class_name and len(calls) < _CALLS_KEPT:
            calls.append(Call(function, preview(arguments), self._position))
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
                target[self._key(key)] = value
        elif isinstance(target, CallRecord):
            target.entries.extend(pairs)
        else:
            raise ValueError(f"setting an item of {type(target).__name__}")

    def _key(self, key: Any) -> Any:
        """A key whose hash cannot be chosen to collide: tuples become records."""
        if not isinstance(key, tuple):
            return plain_key(key)
        self._trace.records += 1
        return CallRecord(GlobalName("builtins", "tuple"), key)

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

    def _tuple3(self) -> None:
        last = self._pop()
        self._stack.append((*self._pair(), last))

    def _unsupported(self, name: str) -> None:
        raise ValueError(f"opcode {name}, which torch.save never writes")

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


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return "a memo entry that was never stored"
    if isinstance(error, IndexError):
        return "more values are taken than there are"
    return preview(str(error)).strip("'\"")


_Handler = Callable[[PickleMachine, Any], None]
_HANDLERS: dict[str, _Handler] = {
    "PROTO": lambda m, a: None,
    "FRAME": lambda m, a: None,
    "NONE": lambda m, a: m._stack.append(None),
    "NEWTRUE": lambda m, a: m._stack.append(True),
    "NEWFALSE": lambda m, a: m._stack.append(False),
    "EMPTY_LIST": lambda m, a: m._stack.append([]),
    "EMPTY_TUPLE": lambda m, a: m._stack.append(()),
    "EMPTY_DICT": lambda m, a: m._stack.append({}),
    "EMPTY_SET": lambda m, a: m._stack.append([]),
    "BYTEARRAY8": lambda m, a: m._stack.append(bytes(a)),
    "MARK": lambda m, a: m._mark(),
    "LIST": lambda m, a: m._stack.append(m._pop_mark()),
    "TUPLE": lambda m, a: m._stack.append(tuple(m._pop_mark())),
    "TUPLE1": lambda m, a: m._stack.append((m._pop(),)),
    "TUPLE2": lambda m, a: m._stack.append(tuple(m._pair())),
    "TUPLE3": lambda m, a: m._tuple3(),
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
    "MEMOIZE": lambda m, a: m._put(len(m._memo)),
    "GLOBAL": lambda m, a: m._stack.append(m._global(*_split_global(a))),
    "STACK_GLOBAL": lambda m, a: m._stack_global(),
    "INST": PickleMachine._instance,
    "OBJ": lambda m, a: m._object(),
    "REDUCE": lambda m, a: m._reduce(),
    "NEWOBJ": lambda m, a: m._reduce(),
    "NEWOBJ_EX": lambda m, a: m._new_with_keywords(),
    "PERSID": PickleMachine._persistent,
    "BINPERSID": lambda m, a: m._persistent(m._pop()),
    "NEXT_BUFFER": lambda m, a: m._unsupported("NEXT_BUFFER"),
    "READONLY_BUFFER": lambda m, a: m._unsupported("READONLY_BUFFER"),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), PickleMachine._extension),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), PickleMachine._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), PickleMachine._get),
    **dict.fromkeys(
        ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        PickleMachine._literal,
    ),
    **dict.fromkeys(
        ("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        PickleMachine._literal,
    ),
    **dict.fromkeys(_TEXTS, PickleMachine._literal),
}
