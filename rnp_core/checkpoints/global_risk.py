"""What the names and calls inside a pickle mean for whoever loads the file in full."""

from __future__ import annotations

from rnp_core.checkpoints.rebuild import DTYPE_NAMES, PLAIN_NAMES, STORAGE_MODULES
from rnp_core.checkpoints.records import GlobalName, printable
from rnp_core.checkpoints.result import FileFinding
from rnp_core.checkpoints.trace import Trace

MALWARE = ("AML.T0018.002", "AML.T0011.000")
UNSAFE_ARTIFACT = ("AML.T0011.000",)
DESERIALISATION = ("CWE-502",)

_NAMES_KEPT = 50

_DANGEROUS_MODULES = frozenset(
    """
    os posix nt posixpath ntpath subprocess sys shutil socket ssl pty runpy importlib imp
    pkgutil pickle _pickle cPickle dill cloudpickle joblib marshal shelve types ctypes _ctypes
    cffi code codeop bdb pdb timeit cProfile profile trace webbrowser http httplib urllib
    urllib2 requests aiohttp ftplib smtplib poplib imaplib telnetlib xmlrpc multiprocessing
    threading _thread asyncio concurrent signal site pip ensurepip venv distutils setuptools
    pydoc doctest unittest inspect gc atexit tempfile pathlib io _io fileinput glob zipfile
    tarfile platform commands operator _operator functools itertools copyreg copy_reg builtins
    __builtin__ logging weakref tkinter idlelib lib2to3 test sqlite3 mmap fcntl resource
    readline rlcompleter uuid linecache _osx_support _aix_support ast dis compileall
    py_compile zipimport zipapp xml numexpr
    """.split()  # noqa: SIM905
)
_DANGEROUS_PREFIXES = (
    "torch.hub",
    "torch.jit",
    "torch.load",
    "torch.save",
    "torch.serialization",
    "torch.package",
    "torch.utils",
    "torch.ops",
    "torch.classes",
    "torch.fx",
    "torch._dynamo",
    "torch._inductor",
    "torch.distributed",
    "torch.multiprocessing",
    "torch.export",
    "torch.onnx",
    "torch.testing",
    "torch.storage._load_from_bytes",
    "torch.cuda._",
    "torch._C._jit",
    "numpy.testing",
    "numpy.f2py",
    "numpy.distutils",
    "numpy.load",
    "numpy.fromfile",
    "numpy.memmap",
    "pandas.read_",
    "pandas.eval",
    "sklearn.utils",
    "nltk",
)
_HARMLESS = frozenset(
    """
    builtins.set builtins.frozenset builtins.list builtins.dict builtins.tuple
    builtins.bytearray builtins.bytes builtins.int builtins.float builtins.str
    builtins.complex builtins.slice builtins.object __builtin__.set __builtin__.object
    __builtin__.long copyreg._reconstructor copy_reg._reconstructor _codecs.encode
    collections.defaultdict collections.Counter collections.deque torch.device
    torch.serialization._get_layout pathlib.PosixPath pathlib.WindowsPath pathlib.Path
    argparse.Namespace types.SimpleNamespace numpy.ndarray numpy.dtype
    numpy.core.multiarray._reconstruct numpy.core.multiarray.scalar
    numpy._core.multiarray._reconstruct numpy._core.multiarray.scalar
    numpy.core.numeric._frombuffer numpy._core.numeric._frombuffer torch.Tensor
    torch._utils._rebuild_qtensor torch._utils._rebuild_sparse_tensor
    torch._utils._rebuild_meta_tensor_no_storage datetime.datetime PIL.Image.Image
    """.split()  # noqa: SIM905
)
_MODULE_PREFIXES = (
    "torch.nn.modules.",
    "torch.nn.parallel.",
    "torch.optim.",
    "torchvision.",
    "timm.",
)
_UNKNOWN_PREFIXES = ("torch.nn.", "torch._C._nn.", "torch._utils.")


def is_plain(name: GlobalName) -> bool:
    """Whether ``weights_only=True`` may meet the name: tensors and plain containers only."""
    if name.dotted in PLAIN_NAMES or name.dotted in DTYPE_NAMES:
        return True
    return name.module in STORAGE_MODULES and name.name.endswith("Storage")


def risk(name: GlobalName) -> str:
    """``"plain"``, ``"harmless"``, ``"module"``, ``"unknown"`` or ``"dangerous"``.

    Dangerous names can run code or reach one that does. Modules are network classes of well-known
    libraries. Nothing is known about the unknown ones: importing them runs the code of the package
    they are in.
    """
    if is_plain(name):
        return "plain"
    if name.dotted in _HARMLESS:
        return "harmless"
    parts = name.dotted.split(".")
    if any(part.startswith("__") and part.endswith("__") for part in name.name.split(".")):
        return "dangerous"
    if parts[0] in _DANGEROUS_MODULES or name.dotted.startswith(_DANGEROUS_PREFIXES):
        return "dangerous"
    if name.dotted.startswith(_MODULE_PREFIXES) and name.name.isidentifier():
        return "module" if name.name[:1].isupper() else "dangerous"
    if not all(part[:1].isupper() for part in name.name.split(".")[:-1]):
        return "dangerous"  # attribute of an attribute: a way around lists of names
    if parts[0] == "torch" and not name.dotted.startswith(_UNKNOWN_PREFIXES):
        return "dangerous"
    return "unknown"


def pickle_findings(trace: Trace) -> tuple[FileFinding, ...]:
    """Findings about the names, calls and opcodes of a file's pickles."""
    findings = []
    calls: dict[GlobalName, list[dict[str, object]]] = {}
    for call in trace.calls:
        shown = {"arguments": call.arguments, "position": call.position}
        calls.setdefault(call.function, []).append(shown)
    kinds: dict[str, list[GlobalName]] = {}
    for name in trace.globals:
        kinds.setdefault(risk(name), []).append(name)
    for name in kinds.get("dangerous", [])[:_NAMES_KEPT]:
        shown_name = printable(name.dotted[:200])
        findings.append(
            FileFinding(
                "critical",
                "unsafe-global",
                f"a full load of this file would import {shown_name}, which can run code",
                {
                    "global": shown_name,
                    "position": trace.globals[name],
                    "calls": calls.get(name, [])[:3],
                },
                MALWARE,
                DESERIALISATION,
            )
        )
    findings += _groups(kinds)
    if trace.extension_codes:
        findings.append(
            FileFinding(
                "high",
                "extension-registry",
                "the pickle asks for objects of the copyreg extension registry, which hides names",
                {"codes": trace.extension_codes[:20]},
                MALWARE,
                DESERIALISATION,
            )
        )
    if trace.trailing_bytes:
        findings.append(
            FileFinding(
                "medium",
                "trailing-data",
                "the file has bytes behind the end of its data, which torch.save does not write",
                {"bytes": trace.trailing_bytes},
                UNSAFE_ARTIFACT,
                ("CWE-436",),
            )
        )
    return tuple(findings)


def _groups(kinds: dict[str, list[GlobalName]]) -> list[FileFinding]:
    wording = {
        "unknown": (
            "medium",
            "unknown-global",
            "a full load of this file would import names that this tool does not know; "
            "importing runs the code of their packages",
        ),
        "module": (
            "low",
            "pickled-module",
            "the file holds pickled network objects, not only weights; a full load imports them",
        ),
        "harmless": (
            "info",
            "other-objects",
            "the file holds objects beside tensors and plain containers",
        ),
    }
    findings = []
    for kind, (severity, rule, message) in wording.items():
        names = kinds.get(kind, [])
        if names:
            shown = [printable(name.dotted[:200]) for name in names[:_NAMES_KEPT]]
            atlas = () if kind == "harmless" else UNSAFE_ARTIFACT
            cwe = () if kind == "harmless" else DESERIALISATION
            evidence = {"globals": shown, "count": len(names)}
            findings.append(
                FileFinding(severity, rule, message, evidence, atlas, cwe)  # type: ignore[arg-type]
            )
    return findings
