"""Mutation fuzzing of the checkpoint readers, guided by what they answer.

Run ``python -m tests.fuzz.fuzz_checkpoints --minutes 60 --keep FOLDER``. Mutants of well-formed and
hostile files are read in forked children with bounded memory and time. A mutant that gets an answer
that was not seen before (a refusal with other words, another reader, other findings) joins the
seeds. A mutant fails when the reader raises anything but ``CheckpointError``, runs a program,
imports a module, unpickles, grows beyond the memory bound, dies or hangs; it is kept in FOLDER.
Exit code 1 when there is a failure.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rnp_core.checkpoints import ReadLimits, inspect_checkpoint, load_checkpoint
from rnp_core.errors import CheckpointError
from tests.fuzz.mutate import mutate
from tests.helpers import layout_files
from tests.helpers.bounded import run_bounded
from tests.helpers.hostile_files import corpus
from tests.helpers.hostile_run import warm_up, watched

BATCH = 100
MEMORY_MIB = 1024
SECONDS = 60.0
_MOST_SEED_BYTES = 200_000
_LARGE = re.compile("million|MiB|deep")
_LIMITS = ReadLimits(pickle_steps=200_000, tensor_bytes=256 << 20)


@dataclass
class Tally:
    """Counts of a run."""

    mutants: int = 0
    read: int = 0
    refused: int = 0
    peak_mib: float = 0.0
    slowest_batch: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)


def seeds(folder: Path) -> list[bytes]:
    """Small files of every layout and of the hostile corpus."""
    found = []
    model = layout_files.network()
    writers = [
        layout_files.rnp_tar,
        layout_files.backdoorbench_v1,
        layout_files.backdoorbench_v2,
        layout_files.backdoorbench_v2_pictures,
        layout_files.lightning,
        lambda where, net: layout_files.save(net, where / "module.pt"),
        lambda where, net: layout_files.save(net, where / "module.pt", legacy=True),
        lambda where, net: layout_files.save(net.state_dict(), where / "s.pt", legacy=True),
        lambda where, net: layout_files.timm_folder(where, net) / "model.safetensors",
        layout_files.pruned,
    ]
    paths = [write(_fresh(folder), model) for write in writers]
    small = [build for name, build in corpus().items() if not _LARGE.search(name)]
    paths += [build(_fresh(folder), folder / "canary") for build in small]
    for path in paths:
        if "\0" not in str(path) and path.is_file() and path.stat().st_size < _MOST_SEED_BYTES:
            found.append(path.read_bytes())
    return found


def _fresh(folder: Path) -> Path:
    inner = folder / f"seed{sum(1 for _ in folder.iterdir())}"
    inner.mkdir()
    return inner


def look(path: Path) -> str:
    """What the readers say about one file, without numbers and quoted fragments."""
    try:
        inspection = inspect_checkpoint(path, limits=_LIMITS)
        rules = sorted({finding.rule for finding in inspection.findings})
        answer = f"{inspection.format} {rules}"
        answer += f" {load_checkpoint(path, limits=_LIMITS).reader}"
    except CheckpointError as error:
        answer = f"refused: {error}"
    return re.sub(r"'[^']*'|\d+", "_", answer)[:200]


def read_batch(mutants: list[bytes], path: Path) -> list[list[Any]]:
    """``[answer or None, failure or None]`` of each mutant; stops at the first failure."""
    results: list[list[Any]] = []
    for data in mutants:
        path.write_bytes(data)
        with watched() as events:
            try:
                answer, failure = look(path), None
            except Exception as error:  # exactly what the fuzzer looks for
                answer, failure = None, f"{type(error).__name__}: {error}"[:300]
        if events:
            failure = f"ran: {sorted(set(events))}"
        results.append([answer, failure])
        if failure:
            break
    return results


def fuzz(minutes: float, seed: int, keep: Path | None, report: Any = None) -> Tally:
    """Fuzz for ``minutes``; ``report`` is called with the tally and the pool size now and then."""
    rng = random.Random(seed)
    tally = Tally()
    warm_up()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pool = seeds(folder)
        first = tuple(pool)
        seen: set[str] = set()
        end = time.monotonic() + minutes * 60
        while time.monotonic() < end:
            mutants = [_mutant(first, pool, rng) for _ in range(BATCH)]
            _run(mutants, folder / "mutant.pth", tally, seen, pool, keep)
            if report is not None and tally.mutants % (50 * BATCH) < BATCH:
                report(tally, len(pool))
    return tally


def _mutant(first: Sequence[bytes], pool: Sequence[bytes], rng: random.Random) -> bytes:
    """A mutant of a file as written half of the time, else of one that joined the seeds."""
    return mutate(rng.choice(first if rng.random() < 0.5 else pool), pool, rng)


def _run(
    mutants: list[bytes],
    path: Path,
    tally: Tally,
    seen: set[str],
    pool: list[bytes],
    keep: Path | None,
) -> None:
    outcome = run_bounded(lambda: read_batch(mutants, path), seconds=SECONDS, memory_mib=MEMORY_MIB)
    if outcome.value is None:
        if len(mutants) > 1:
            for data in mutants:
                _run([data], path, tally, seen, pool, keep)
        else:
            tally.mutants += 1
            _fail(f"died (signal {outcome.signal})", mutants[0], tally, keep)
        return
    tally.peak_mib = max(tally.peak_mib, outcome.peak_mib)
    tally.slowest_batch = max(tally.slowest_batch, outcome.seconds)
    for data, (answer, failure) in zip(mutants, outcome.value, strict=False):
        tally.mutants += 1
        if failure:
            _fail(failure, data, tally, keep)
            continue
        refused = answer.startswith("refused")
        tally.refused += refused
        tally.read += not refused
        if answer not in seen and len(data) < _MOST_SEED_BYTES:
            seen.add(answer)
            pool.append(data)
    rest = mutants[len(outcome.value) :]
    if rest:
        _run(rest, path, tally, seen, pool, keep)


def _fail(failure: str, data: bytes, tally: Tally, keep: Path | None) -> None:
    tally.failures[re.sub(r"\d+", "_", failure)] += 1
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        number = sum(tally.failures.values())
        (keep / f"failure{number}.bin").write_bytes(data)
        (keep / f"failure{number}.txt").write_text(failure)


def _line(tally: Tally, pool: int) -> str:
    return (
        f"{tally.mutants} mutants: {tally.read} read, {tally.refused} refused, "
        f"{sum(tally.failures.values())} failures; {pool} seeds; peak {tally.peak_mib:.0f} MiB; "
        f"slowest batch of {BATCH}: {tally.slowest_batch:.1f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for mutants that failed")
    arguments = parser.parse_args()

    def report(tally: Tally, pool: int) -> None:
        sys.stdout.write(_line(tally, pool) + "\n")
        sys.stdout.flush()

    tally = fuzz(arguments.minutes, arguments.seed, arguments.keep, report)
    report(tally, 0)
    for failure, count in tally.failures.most_common():
        sys.stdout.write(f"{count} x {failure}\n")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
