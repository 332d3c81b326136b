"""``rnp fleet``: scan many models, with a live table."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rnp_core.cli_settings import add_settings, read_settings
from rnp_core.errors import ConfigError, ReportError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from rnp_core.jobs import EngineLimits
    from rnp_core.jobs.fleet import FleetProgress
    from rnp_core.jobs.fleet_ranking import FleetRow

GIB = 1 << 30
_INTERRUPTED = 2
_SHOWN = 15
_STYLES = {"backdoored": "bold red", "suspicious": "bold yellow", "error": "magenta"}


def add_fleet(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of the program."""
    fleet = commands.add_parser(
        "fleet",
        help="scan many checkpoints and rank them",
        description="Scan every checkpoint of a folder or a list, each distinct file once. Cheap "
        "evidence comes first, then whole scans, the most suspicious models first. Run the same "
        "command again to go on after an interruption.",
        epilog="Exit codes: 1 any model is backdoored or suspicious, else 2 any error, else 3 any "
        "inconclusive, else 0.",
    )
    fleet.add_argument("models", type=Path, help="folder of checkpoints, or a text file of paths")
    fleet.add_argument("--clean", type=Path, help="clean images for models that bring none")
    fleet.add_argument("--out", type=Path, required=True, help="folder for ranking and reports")
    fleet.add_argument("--scheduler", help="address of a Dask scheduler (default: this machine)")
    fleet.add_argument("--workers", type=int, default=1, help="scans at once on this machine")
    fleet.add_argument("--send-files", action="store_true",
                       help="workers do not share this disk: send files through the scheduler")
    fleet.add_argument("--home", type=Path, help="folder of the history (default: $RNP_HOME)")
    fleet.add_argument("--scan-share", type=float, default=1.0, metavar="SHARE",
                       help="share of the models that get a whole scan (default: 1)")
    fleet.add_argument("--retry-failed", action="store_true",
                       help="run scans of this fleet that failed before again")
    fleet.add_argument("--memory", type=float, metavar="GIB",
                       help="memory limit of each scan (default: a share of the machine's)")
    fleet.add_argument("--time-limit", type=float, metavar="SECONDS",
                       help="time limit of each scan (default: 21600)")
    fleet.add_argument("--disk", type=float, metavar="GIB",
                       help="size of the history beyond which files of unfinished scans are "
                       "removed and, where that is not enough, no scan is added (default: 100)")
    add_settings(fleet)
    fleet.add_argument("--quiet", action="store_true", help="print nothing but errors")
    fleet.set_defaults(run=run_fleet)


def run_fleet(options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from rnp_core.jobs import JobEngine, default_home
    from rnp_core.jobs.fleet import Fleet
    from rnp_core.jobs.fleet_models import find_models
    from rnp_core.jobs.fleet_ranking import exit_code

    models = find_models(options.models)
    if options.clean is None and not all(m.brings_images or m.clean for m in models):
        raise ConfigError("--clean is needed: a folder, zip or npz of clean labelled images")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"cannot write to {options.out}: {error.strerror}") from error
    with JobEngine(
        options.home or default_home(),
        scheduler=options.scheduler,
        limits=_limits(options),
        workers=options.workers,
        send_files=options.send_files,
    ) as engine:
        fleet = Fleet(
            engine,
            models,
            read_settings(options),
            clean=options.clean,
            out=options.out,
            scan_share=options.scan_share,
            retry_failed=options.retry_failed,
        )
        try:
            with _Screen(quiet=options.quiet) as screen:
                rows = fleet.run(screen.update)
        except KeyboardInterrupt:
            print("rnp: interrupted; run the same command again to go on", file=sys.stderr)
            return _INTERRUPTED
    if not options.quiet:
        _summary(rows, options.out)
    return exit_code(rows)


def _limits(options: argparse.Namespace) -> EngineLimits:
    """The default limits with what the options say."""
    from rnp_core.jobs import EngineLimits

    given = {
        "job_memory_bytes": _bytes(options.memory, "--memory"),
        "job_seconds": options.time_limit,
        "disk_bytes": _bytes(options.disk, "--disk"),
    }
    return EngineLimits(**{name: value for name, value in given.items() if value is not None})


def _bytes(gib: float | None, option: str) -> int | None:
    if gib is None:
        return None
    try:
        return int(gib * GIB)
    except (ValueError, OverflowError):
        raise ConfigError(f"expected {option} in GiB, got {gib}") from None


class _Screen:
    """A live table on a terminal, a line now and then elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console: Console = Console(stderr=True, highlight=False)
        self._show: Callable[[FleetProgress], None] = self._line
        self._live: Live | None = None
        self._said = 0.0
        self._start = time.monotonic()
        if quiet:
            self._show = lambda progress: None
        elif self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4)
            self._show = lambda progress: self._live.update(  # type: ignore[union-attr]
                fleet_table(progress, seconds=time.monotonic() - self._start)
            )

    def __enter__(self) -> _Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *unused: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, progress: FleetProgress) -> None:
        self._show(progress)

    def _line(self, progress: FleetProgress) -> None:
        if time.monotonic() - self._said < 30:
            return
        self._said = time.monotonic()
        problem = f"; {progress.problem}" if progress.problem else ""
        self._console.print(
            f"rnp: {progress.finished} of {progress.total} finished, {progress.triaged} ranked, "
            f"{progress.running} running{problem}",
            markup=False,
            soft_wrap=True,
        )


def fleet_table(progress: FleetProgress, *, seconds: float) -> Table:
    """The top of the ranking with a line on how far the fleet is."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    minutes = f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
    title = (
        f"{progress.finished} of {progress.total} finished, {progress.triaged} ranked, "
        f"{progress.running} running, {minutes}"
    )
    table = Table(title=title, caption=escape(progress.problem) or None, title_justify="left",
                  box=SIMPLE_HEAD, expand=True, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("#", no_wrap=True)
    table.add_column("model", no_wrap=True, overflow="ellipsis", ratio=1)  # gives way to the others
    for name in ("verdict", "score", "by", "label", "file", "state"):
        table.add_column(name, no_wrap=True)
    for row in progress.rows[:_SHOWN]:
        verdict = row.verdict or "-"
        table.add_row(
            str(row.rank),
            escape(_short(row.path)),
            f"[{_STYLES.get(verdict, 'default')}]{verdict}[/]",
            "-" if row.score is None else f"{row.score:.2f}",
            row.evidence,
            " ".join(map(str, row.labels[:3])) or "-",
            row.file_severity or "-",
            row.state,
        )
    return table


def _short(path: str) -> str:
    parts = [part for part in path.split("/") if part]
    text = "".join(c if c.isprintable() else "?" for c in "/".join(parts[-2:]))
    return text if len(text) <= 48 else "..." + text[-45:]


def _summary(rows: list[FleetRow], out: Path) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=True)
    counts: dict[str, int] = {}
    for row in rows:
        name = row.verdict or row.state
        counts[name] = counts.get(name, 0) + 1
    shown = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    console.print(f"{len(rows)} models: {shown}")
    for row in rows:
        if row.is_found:
            file = ", critical finding about the file" if row.file_severity == "critical" else ""
            console.print(f"  {row.rank:4}  {row.verdict or row.state:11}  {row.score or 0:.2f}  "
                          f"{_short(row.path)}{file}")
    console.print(f"ranking: {out / 'ranking.csv'}")
