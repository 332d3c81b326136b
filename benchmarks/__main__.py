"""Command line of the benchmark: ``rnp benchmark``, or ``python -m benchmarks`` with a command.

    python -m benchmarks run --quick                      # the committed models, a few methods
    python -m benchmarks run --part shared --shared ../shared --counts 500,100,50
    python -m benchmarks run --part cifar10 --zoo runs/zoo --methods all,ablations --split report
    python -m benchmarks table runs/benchmark-shared runs/benchmark-cifar10 --out docs/benchmark

    python -m benchmarks cost                              # seconds, memory and multiply-adds
    python -m benchmarks calibrate benchmarks/results/*    # scores that reports show, from rows

``rnp benchmark`` is ``run``. A second start of the same command goes on where the first one ended.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.calibration import CALIBRATION, write_calibration
from benchmarks.methods import BUDGETS
from benchmarks.quick import QUICK_GRID, quick_subjects
from benchmarks.rows import ROWS_NAME, Row
from benchmarks.runner import Cell, Grid, run_grid
from benchmarks.subjects import SPLITS, BenchmarkSubject, read_shared, read_zoo
from benchmarks.tables import write_tables
from benchmarks.zoo.recipes import CLASSES
from rnp_core.errors import ConfigError, RnpError
from rnp_core.request import PRESETS

PARTS = ("shared", *CLASSES)

SMALL_ZOO = Path(__file__).resolve().parents[1] / "assets" / "zoo"
"""The committed models, trained on rendered signs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 1 when a run failed and 2 for bad arguments."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    commands = {"run": _run, "table": _table, "cost": _cost, "calibrate": _calibrate}
    command = given.pop(0) if given and given[0] in commands else "run"
    try:
        return commands[command](given)
    except RnpError as error:
        print(f"rnp benchmark: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "rnp benchmark: interrupted; what is done is kept, and the same command goes on",
            file=sys.stderr,
        )
        return 2


def _run(arguments: Sequence[str]) -> int:
    options = _run_parser().parse_args(arguments)
    subjects = _select(_read(options), options)
    if options.quick:
        grid, subjects = QUICK_GRID, quick_subjects(subjects)
    else:
        grid = Grid(
            part=options.part,
            methods=tuple(options.methods.split(",")),
            counts=_integers(options.counts, "--counts"),
            seeds=_integers(options.seeds, "--seeds"),
            budget=options.budget,
            preset=options.preset,
            threads=options.threads,
            device=options.device,
            time_limit=options.time_limit,
        )
    if not subjects:
        raise ConfigError("expected at least one model, got none for these --only and --split")
    name = "benchmark-quick" if options.quick else f"benchmark-{options.part}"
    out = options.out or Path("runs") / name
    rows = run_grid(
        grid,
        subjects,
        out,
        limit=options.limit,
        jobs=options.jobs,
        on_cell=_show_cell,
        on_row=_show_row,
    )
    print("\n" + write_tables([out], out))
    print(f"The tables are in {out / 'tables.md'} and {out / 'tables.json'}.")
    return int(any(row.status == "failed" for row in rows))


def _table(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="rnp benchmark table", description="Make the tables of finished runs."
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders with rows.jsonl")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables")
    options = parser.parse_args(arguments)
    _require_rows(options.folders)
    print(write_tables(options.folders, options.out))
    return 0


def _cost(arguments: Sequence[str]) -> int:
    from benchmarks.cost.command import main  # needs psutil, which fleets and tests bring

    return main(arguments)


def _calibrate(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="rnp benchmark calibrate",
        description="Put the scores of known models from finished runs into the package.",
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders with rows.jsonl")
    options = parser.parse_args(arguments)
    _require_rows(options.folders)
    print(f"{write_calibration(options.folders)} models are in {CALIBRATION}")
    return 0


def _require_rows(folders: Sequence[Path]) -> None:
    for folder in folders:
        if not (folder / ROWS_NAME).is_file():
            raise ConfigError(f"expected {ROWS_NAME} in {folder}, found none")


def _run_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rnp benchmark",
        description="Measure the scanner and published defences on models with known truth.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="some of the committed models, in under ten minutes"
    )
    parser.add_argument("--part", choices=PARTS, default="small")
    parser.add_argument("--zoo", type=Path, help="trained models (default for small: assets/zoo)")
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="for --part shared")
    parser.add_argument("--out", type=Path, help="folder for rows and tables")
    parser.add_argument("--only", default="*", help="names of models, with * and ?, by comma")
    parser.add_argument("--split", choices=("all", *SPLITS), default="all")
    parser.add_argument(
        "--methods", default="all", help="by comma: all, baselines, ablations, ours, rnp, nc, ..."
    )
    parser.add_argument("--counts", default="500", help="numbers of clean images, by comma")
    parser.add_argument("--seeds", default="0", help="by comma")
    parser.add_argument("--limit", type=int, help="run at most so many cells now")
    parser.add_argument("--budget", choices=BUDGETS, default="paper", help="of the baselines")
    parser.add_argument("--preset", choices=PRESETS, default="standard", help="of our scan")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="cells that run at the same time")
    parser.add_argument("--time-limit", type=float, default=7200.0, help="seconds for one cell")
    return parser


def _read(options: argparse.Namespace) -> tuple[BenchmarkSubject, ...]:
    if options.quick and (options.part != "small" or options.zoo):
        raise ConfigError("--quick runs the committed models; leave --part and --zoo out")
    if options.part == "shared":
        return read_shared(options.shared)
    if options.zoo is None and options.part != "small":
        raise ConfigError(f"expected --zoo, a folder of models trained on {options.part}")
    return read_zoo(options.zoo or SMALL_ZOO)


def _select(
    subjects: Sequence[BenchmarkSubject], options: argparse.Namespace
) -> list[BenchmarkSubject]:
    """Subjects that ``--only`` and ``--split`` name."""
    patterns = options.only.split(",")
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(subject.name, pattern) for subject in subjects):
            known = ", ".join(subject.name for subject in subjects)
            raise ConfigError(f"expected models among {known}, got --only {pattern!r}")
    return [
        subject
        for subject in subjects
        if any(fnmatch.fnmatchcase(subject.name, pattern) for pattern in patterns)
        and options.split in ("all", subject.split)
    ]


def _integers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"expected numbers like 500,100,50 for {option}, got {text!r}") from None


def _show_cell(cell: Cell, index: int, count: int) -> None:
    row = cell.blank
    print(
        f"[{index}/{count}] {cell.method} on {row.subject}, {row.clean_count} clean images, "
        f"seed {row.seed}",
        flush=True,
    )


def _show_row(row: Row) -> None:
    if row.status != "done":
        print(f"    {row.method}: {row.status}: {row.error}", flush=True)
        return
    parts = [
        f"verdict {row.verdict}" if row.verdict else "",
        _shown("score", row.score),
        f"labels {row.labels}" if row.labels is not None else "",
        _change("ASR", row.asr_before, row.asr_after),
        _change("accuracy", row.accuracy_before, row.accuracy_after),
        _shown("trigger flips", row.trigger_flip_rate),
        _shown("triage AUROC", row.sample_auroc),
        f"{row.seconds:.0f} s" if row.seconds is not None else "",
    ]
    print(f"    {row.method}: {', '.join(part for part in parts if part)}", flush=True)


def _shown(name: str, value: float | None) -> str:
    return "" if value is None else f"{name} {value:.3f}"


def _change(name: str, before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"{name} {before:.3f} to {after:.3f}"


if __name__ == "__main__":
    sys.exit(main())
