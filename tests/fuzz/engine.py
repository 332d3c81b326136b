"""Coverage-guided mutation of files, read in forked children with bounded memory and time."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.fuzz.edges import edges
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import MOST_BYTES, Target
from tests.helpers.bounded import run_bounded
from tests.helpers.hostile_run import warm_up, watched

BATCH = 50
GUIDED = 4  # every fourth batch is traced, which makes it about five times slower
MEMORY_MIB = 1024
SECONDS = 180.0
_OWN_EVENTS = frozenset(("shutil.rmtree",))  # the temporary folder of images inside a checkpoint


@dataclass
class Tally:
    """Counts of a run over one target.

    Attributes:
        mutants, read, refused: files so far, and what came of them.
        edges: pairs of successive lines of the package that ran in traced batches.
        pool: files that mutants are made of.
        seconds: time spent on this target.
        peak_mib: most memory that a batch added.
        slowest: seconds of the slowest batch.
        failures: by message.
    """

    mutants: int = 0
    read: int = 0
    refused: int = 0
    edges: int = 0
    pool: int = 0
    seconds: float = 0.0
    peak_mib: float = 0.0
    slowest: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)


Report = Callable[[str, Tally], None]


class Fuzzer:
    """Fuzzes one target; a mutant that reaches a new edge joins the files to mutate."""

    def __init__(self, target: Target, rng: random.Random, folder: Path, keep: Path | None) -> None:
        self.tally = Tally()
        self.target = target
        self._rng = rng
        self._path = folder / target.file_name
        self._keep = keep
        self._known: set[int] = set()
        self._steps = 0
        inner = folder / target.name
        inner.mkdir()
        self._seeds = tuple(target.seeds(inner))
        self._pool = list(self._seeds)
        warm_up()
        for data in self._seeds:  # whatever the readers import, they import now
            self._path.write_bytes(data)
            target.look(self._path)
        for start in range(0, len(self._seeds), BATCH):
            self._run(self._seeds[start : start + BATCH], guided=True)

    def step(self) -> None:
        """One batch: half of it mutants of files as written, half of those that joined them."""
        start = time.monotonic()
        sources = [self._rng.choice((self._seeds, self._pool)) for _ in range(BATCH)]
        mutants = [mutate(self._rng.choice(s), self._pool, self._rng) for s in sources]
        self._run(mutants, guided=self._steps % GUIDED == 0)
        self._steps += 1
        self.tally.seconds += time.monotonic() - start

    def _run(self, mutants: Sequence[bytes], *, guided: bool) -> None:
        outcome = run_bounded(
            lambda: _read_batch(self.target, mutants, self._path, self._known if guided else None),
            seconds=SECONDS,
            memory_mib=MEMORY_MIB,
        )
        if outcome.value is None:
            if len(mutants) == 1:
                self.tally.mutants += 1
                self._fail(f"died (signal {outcome.signal})", mutants[0])
                return
            for data in mutants:
                self._run([data], guided=guided)
            return
        self.tally.peak_mib = max(self.tally.peak_mib, outcome.peak_mib)
        self.tally.slowest = max(self.tally.slowest, outcome.seconds)
        for data, (answer, new, failure) in zip(mutants, outcome.value, strict=False):
            self._count(data, answer, new, failure)
        rest = mutants[len(outcome.value) :]
        if rest:
            self._run(rest, guided=guided)

    def _count(self, data: bytes, answer: str, new: list[int], failure: str | None) -> None:
        self.tally.mutants += 1
        if failure is not None:
            self._fail(failure, data)
            return
        self.tally.refused += answer == "refused"
        self.tally.read += answer != "refused"
        self._known.update(new)
        if new and len(data) < MOST_BYTES:
            self._pool.append(data)
        self.tally.edges, self.tally.pool = len(self._known), len(self._pool)

    def _fail(self, failure: str, data: bytes) -> None:
        self.tally.failures[re.sub(r"\d+", "_", failure)] += 1
        if self._keep is not None:
            self._keep.mkdir(parents=True, exist_ok=True)
            name = f"{self.target.name}{sum(self.tally.failures.values())}"
            (self._keep / f"{name}.bin").write_bytes(data)
            (self._keep / f"{name}.txt").write_text(failure)


def _read_batch(
    target: Target, mutants: Sequence[bytes], path: Path, known: set[int] | None
) -> list[list[Any]]:
    """``[answer, new edges, failure or None]`` of each mutant; stops at the first failure.

    Edges are not looked for when ``known`` is None.
    """
    results: list[list[Any]] = []
    seen = set(known or ())
    for data in mutants:
        path.write_bytes(data)
        answer, failure = "failed", None
        nothing = nullcontext(set[int]())
        with watched() as events, nothing if known is None else edges() as found:
            try:
                answer = target.look(path)
            except Exception as error:  # exactly what the fuzzer looks for
                failure = f"{type(error).__name__}: {error}"[:300]
        ran = set(events) - _OWN_EVENTS
        if ran:
            failure = f"ran: {sorted(ran)}"
        results.append([answer, sorted(found - seen), failure])
        seen |= found
        if failure:
            break
    return results


def fuzz(
    targets: Sequence[Target],
    minutes: float,
    seed: int,
    *,
    keep: Path | None = None,
    report: Report | None = None,
) -> dict[str, Tally]:
    """Fuzz ``targets`` in turn for ``minutes``, the time to start not counted.

    Args:
        targets: what to fuzz.
        minutes: for all targets together.
        seed: of the mutations.
        keep: folder for mutants that failed, each with its message.
        report: called with the counts of each target about once a minute.
    """
    rng = random.Random(seed)
    with TemporaryDirectory() as temporary:
        fuzzers = [Fuzzer(target, rng, Path(temporary), keep) for target in targets]
        now = time.monotonic()
        end, next_report = now + minutes * 60, now + 60
        while now < end:
            for fuzzer in fuzzers:
                fuzzer.step()
            now = time.monotonic()
            if report is not None and now > next_report:
                next_report = now + 60
                for fuzzer in fuzzers:
                    report(fuzzer.target.name, fuzzer.tally)
    return {fuzzer.target.name: fuzzer.tally for fuzzer in fuzzers}
