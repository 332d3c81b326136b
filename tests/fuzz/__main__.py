"""Fuzzing of the readers of checkpoints and images, guided by the lines that a mutant reaches.

Run ``python -m tests.fuzz --minutes 60 --keep FOLDER``. Mutants of good and hostile files are
read in forked children with bounded memory and time. A mutant fails when a reader raises anything
but an ``RnpError``, runs a program, imports a module, unpickles, exceeds the memory bound, dies
or hangs; it is kept in FOLDER. Exit code 1 when there is a failure.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz.engine import BATCH, Tally, fuzz
from tests.fuzz.targets import TARGETS


def _report(name: str, tally: Tally) -> None:
    sys.stdout.write(
        f"{name}: {tally.mutants} mutants in {tally.seconds:.0f} s: {tally.read} read, "
        f"{tally.refused} refused, {sum(tally.failures.values())} failures; {tally.edges} edges, "
        f"{tally.pool} files to mutate; peak {tally.peak_mib:.0f} MiB; "
        f"slowest batch of {BATCH}: {tally.slowest:.1f} s\n"
    )
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=sorted(TARGETS), action="append", help="default: all")
    parser.add_argument("--keep", type=Path, help="folder for mutants that failed")
    arguments = parser.parse_args()
    chosen = [TARGETS[name] for name in arguments.target or TARGETS]
    tallies = fuzz(chosen, arguments.minutes, arguments.seed, keep=arguments.keep, report=_report)
    for name, tally in tallies.items():
        _report(name, tally)
        for failure, count in tally.failures.most_common():
            sys.stdout.write(f"{count} x {failure}\n")
    return 1 if any(tally.failures for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
