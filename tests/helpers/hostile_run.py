"""Running the hostile corpus: what happens with each file, at what cost, and that nothing ran."""

from __future__ import annotations

import codecs
import functools
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rnp_core.checkpoints import inspect_checkpoint, load_checkpoint
from rnp_core.errors import CheckpointError
from tests.helpers import pickle_ops as ops
from tests.helpers.bounded import run_bounded
from tests.helpers.hostile_pickles import Build

_FORBIDDEN_EVENTS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.spawn",
    "pty.spawn",
    "subprocess.Popen",
    "socket.connect",
    "urllib.Request",
    "pickle.find_class",
    "ctypes.dlopen",
    "shutil.",
    "webbrowser.open",
)

_LONG = 0.3  # seconds


@dataclass(frozen=True)
class Row:
    """One line of the table of outcomes.

    Attributes:
        name: of the file.
        outcome: ``"refused"`` or ``"read (READER)"``.
        worst: the most severe finding as ``"severity: rule"``, or ``"none"``.
        detail: the refusal.
        ran: what the file made happen; must be empty.
        seconds: wall time of inspecting and loading.
        peak_mib: growth of the resident memory.
    """

    name: str
    outcome: str
    worst: str
    detail: str
    ran: tuple[str, ...]
    seconds: float
    peak_mib: float


def run_case(name: str, build: Build) -> Row:
    """Build one file, inspect and load it in a child with bounded memory and time."""
    warm_up()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "files"
        folder.mkdir()
        canary = Path(temporary) / "canary"
        path = build(folder, canary)
        outcome = run_bounded(lambda: _look(path), seconds=60, memory_mib=1500)
        value: dict[str, Any] = outcome.value or {
            "outcome": f"crashed (signal {outcome.signal})",
            "worst": "",
            "detail": "",
            "ran": [],
        }
        ran = [*value["ran"], *(["canary"] if canary.exists() else [])]
    detail = value["detail"].replace(str(folder), "FOLDER")
    return Row(
        name,
        value["outcome"],
        value["worst"],
        detail,
        tuple(ran),
        outcome.seconds,
        outcome.peak_mib,
    )


def _look(path: Path) -> dict[str, Any]:
    with watched() as events:
        worst, refusal, start = "none", "", time.monotonic()
        try:
            inspection = inspect_checkpoint(path)
        except CheckpointError as error:
            refusal = str(error)
        else:
            shown = [f for f in inspection.findings if f.rule not in ("refused", "picklescan")]
            if shown:
                worst = f"{shown[0].severity}: {shown[0].rule}"
            refusal = inspection.refusal or ""
        if refusal and time.monotonic() - start > _LONG:
            return _facts("refused", worst, refusal, events)  # loading would do the same again
        try:
            result = f"read ({load_checkpoint(path).reader})"
        except CheckpointError as error:
            result, refusal = "refused", refusal or str(error)
    return _facts(result, worst, refusal, events)


def _facts(outcome: str, worst: str, detail: str, events: list[str]) -> dict[str, Any]:
    return {"outcome": outcome, "worst": worst, "detail": detail, "ran": sorted(set(events))}


@functools.cache
def warm_up() -> None:
    """Read one good file, so that later audits see no import that the readers do themselves."""
    with TemporaryDirectory() as temporary:
        name = Path(temporary) / "model.pth"
        ops.write_zip(name, ops.network(), members={"archive/\xe9": b""})
        load_checkpoint(ops.write_zip(Path(temporary) / "plain.pth", ops.network()))
        inspect_checkpoint(ops.write_legacy(name, ops.network(legacy=True)))
    version("picklescan")  # as the second opinion does, for dangerous files only
    for codec in ("unicode_escape", "raw_unicode_escape", "latin1", "utf-8", "cp437", "ascii"):
        codecs.lookup(codec)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Collects audit events of running programs, full unpickling and new modules."""
    events: list[str] = []
    active = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if active[0] and event.startswith(_FORBIDDEN_EVENTS):
            events.append(event)

    modules = set(sys.modules)
    sys.addaudithook(hook)
    yield events
    active[0] = False
    events += [f"import {name}" for name in sorted(set(sys.modules) - modules)]
