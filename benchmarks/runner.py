"""The grid of subjects, methods, numbers of clean images and seeds, one process after the other.

Every cell runs in a process of its own: its memory can be measured, and a crash, a hang or an error
becomes a row that says so. Rows are added to a file as they come; a second start leaves out what is
done and tries again what failed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.environment import SETTINGS_NAME, record, record_environment
from benchmarks.methods import OURS, Method, find_methods, method_settings
from benchmarks.rows import ROWS_NAME, Row, RowKey, append_row, read_rows
from benchmarks.subjects import BenchmarkSubject
from benchmarks.tasks import TaskLimits, prepare, run_method

PRELOADED = ["torch", "torch._dynamo", "benchmarks.tasks"]
"""Modules that take seconds to import, once for all processes where the system forks them. The
second is what the first optimiser of a process asks for."""

_ROOT = Path(__file__).resolve().parents[1]
_GRACE = 10.0  # seconds that a process has to end after its last word


@dataclass(frozen=True)
class Grid:
    """What to run.

    Attributes:
        part: "shared", or one of :data:`benchmarks.zoo.recipes.CLASSES`.
        methods: names for :func:`benchmarks.methods.find_methods`.
        counts: clean images that a defence gets.
        seeds: of the choice of images and of every method.
        budget: of the baselines.
        preset: of our scan.
        threads: of the processor, for every cell.
        device: "cpu" or "cuda".
        time_limit: seconds after which a cell counts as failed.
        limits: images that a measurement takes.
    """

    part: str
    methods: tuple[str, ...] = ("all",)
    counts: tuple[int, ...] = (500,)
    seeds: tuple[int, ...] = (0,)
    budget: str = "paper"
    preset: str = "standard"
    threads: int = 2
    device: str = "cpu"
    time_limit: float = 7200.0
    limits: TaskLimits = TaskLimits()


@dataclass(frozen=True)
class Cell:
    """One process: a method, by name, on a subject.

    Attributes:
        rows: names of the rows that the method gives.
        grid: settings that all cells share.
        blank: the row with all that is known before.
    """

    subject: BenchmarkSubject
    method: str
    rows: tuple[str, ...]
    grid: Grid
    blank: Row

    @property
    def keys(self) -> list[RowKey]:
        """The keys of its rows."""
        return [self.blank.key._replace(method=name) for name in self.rows]


def run_grid(
    grid: Grid,
    subjects: Sequence[BenchmarkSubject],
    out: Path,
    *,
    limit: int | None = None,
    jobs: int = 1,
    on_cell: Callable[[Cell, int, int], None] = lambda cell, index, count: None,
    on_row: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Run what is not yet done of ``grid`` and add it to ``out/rows.jsonl``.

    Args:
        limit: cells to run at most.
        jobs: cells that run at the same time; 1 where seconds are to be compared.
        on_cell: called as each ends, before its rows, with how many have ended and how many
            there are.

    Returns:
        All rows in ``out``.

    Raises:
        ConfigError: for an unknown method, budget or preset.
    """
    rows_path = out / ROWS_NAME
    environment = record_environment(out, threads=grid.threads, device=grid.device, jobs=jobs)
    done = {
        (row.key, row.settings) for row in read_rows([rows_path]) if row.status != "failed"
    }
    waiting = [
        cell
        for cell in plan_cells(grid, subjects, out, environment)
        if any((key, cell.blank.settings) not in done for key in cell.keys)
    ][:limit]
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(run_cell, cell): cell for cell in waiting}
        try:
            for index, future in enumerate(as_completed(running), start=1):
                on_cell(running[future], index, len(waiting))
                for row in future.result():
                    append_row(rows_path, row)
                    on_row(row)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return read_rows([rows_path])


def plan_cells(
    grid: Grid, subjects: Sequence[BenchmarkSubject], out: Path, environment: str
) -> Iterator[Cell]:
    """Every cell of the grid, one method after the other; settings are kept in ``out``."""
    for seed in grid.seeds:
        methods = find_methods(grid.methods, budget=grid.budget, preset=grid.preset, seed=seed)
        for clean_count in grid.counts:
            for method in methods:
                settings = record(
                    out / SETTINGS_NAME,
                    {
                        **method_settings(method),
                        "code": _code_of(method),
                        "limits": dataclasses.asdict(grid.limits),
                    },
                )
                for subject in subjects:
                    blank = _blank(grid, subject, method, clean_count, seed)
                    blank = dataclasses.replace(blank, environment=environment, settings=settings)
                    yield Cell(subject, method.name, method.rows, grid, blank)


def _code_of(method: Method) -> str:
    """Digest of the code that decides what a method finds: rows of other code are no longer
    done."""
    folder = _ROOT / ("rnp_core" if method.name.startswith(OURS) else "benchmarks/baselines")
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _blank(
    grid: Grid, subject: BenchmarkSubject, method: Method, clean_count: int, seed: int
) -> Row:
    """The row with all that is known before anything ran."""
    return Row(
        subject=subject.name,
        method=method.name,
        clean_count=clean_count,
        seed=seed,
        budget=method.budget,
        part=grid.part,
        split=subject.split,
        attack=subject.attack,
        control=subject.control,
        architecture=subject.architecture,
        targets=list(subject.targets),
    )


def run_cell(cell: Cell) -> list[Row]:
    """The rows of one cell, run in a new process; failed rows when it gives none."""
    context = _context()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, cell), daemon=True)
    process.start()
    sender.close()
    answer: list[str] | str
    try:
        if receiver.poll(cell.grid.time_limit):
            answer = receiver.recv()
            process.join(_GRACE)
        else:
            answer = f"it took longer than {cell.grid.time_limit:g} s"
    except EOFError:
        process.join(_GRACE)
        answer = f"its process ended with exit code {process.exitcode}"
    finally:
        receiver.close()
        if process.is_alive():
            process.kill()
            process.join()
    if isinstance(answer, str):
        return _failed(cell, answer)
    return [Row.from_json(line) for line in answer]


def _context() -> Any:
    """Processes forked from one that has only imported the libraries, where the system has that."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _work(sender: Connection, cell: Cell) -> None:
    """In the new process: send the rows as lines, or one sentence about the error."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption ends
    grid, seed = cell.grid, cell.blank.seed
    torch.set_num_threads(grid.threads)
    try:
        (method,) = find_methods([cell.method], budget=grid.budget, preset=grid.preset, seed=seed)
        prepared = prepare(
            cell.subject,
            clean_count=cell.blank.clean_count,
            seed=seed,
            limits=grid.limits,
            device=torch.device(grid.device),
        )
        rows = run_method(method, cell.subject, prepared, cell.blank)
        sender.send([row.to_json() for row in rows])
    except Exception as error:  # whatever goes wrong becomes a row
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        sender.send(f"{type(error).__name__}: {message}")


def _failed(cell: Cell, reason: str) -> list[Row]:
    return [
        dataclasses.replace(cell.blank, method=name, status="failed", error=reason)
        for name in cell.rows
    ]
