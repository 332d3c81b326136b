"""The command line, ``rnp`` or ``python -m rnp_core``; the only module that prints."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rnp_core.cli_fleet import add_fleet
from rnp_core.cli_history import add_history
from rnp_core.cli_report import add_from_report, add_report, check_from_report, repeat_scan
from rnp_core.cli_settings import (
    add_reading_limits,
    add_settings,
    path_argument,
    read_settings,
)
from rnp_core.errors import ConfigError, RnpError, ScanCancelled
from rnp_core.version import VERSION

if TYPE_CHECKING:
    from rnp_core.isolation import IsolationLimits
    from rnp_core.progress import Progress
    from rnp_core.report import ScanReport
    from rnp_core.request import ScanRequest

EXIT_CODES = {"no_evidence": 0, "backdoored": 1, "suspicious": 1, "error": 2, "inconclusive": 3}
DEMO = "demo:"

_NEIGHBOURS = {
    "dashboard": (
        "dashboard.__main__",
        "serve the web dashboard on this machine",
        "pip install 'rnp-core[dashboard]'",
    ),
    "benchmark": (
        "benchmarks.__main__",
        "measure the scanner and its baselines on models whose state is known",
        "it is part of the source checkout; run it there",
    ),
}
"""Commands of packages beside this one: module with ``main``, help, and what to do without it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in _NEIGHBOURS:
        return _neighbour(given[0], given[1:])
    parser = _parser()
    options = parser.parse_args(given)
    try:
        return options.run(options)
    except ScanCancelled:
        print("rnp: cancelled; nothing was written", file=sys.stderr)
        return 2
    except RnpError as error:
        from rnp_core.reports.text import shown

        print(f"rnp: {shown(_one_line(error), most=4000)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("rnp: interrupted; nothing was written", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 2
    except MemoryError:
        print("rnp: out of memory; use fewer or smaller images", file=sys.stderr)
        return 2


def _neighbour(command: str, options: Sequence[str]) -> int:
    """Run a program beside the package, which has a command line of its own."""
    module, _, advice = _NEIGHBOURS[command]
    try:
        program = import_module(module)
    except ImportError as error:
        print(f"rnp: {command} is missing ({error}); {advice}", file=sys.stderr)
        return 2
    return int(program.main(options))


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"rnp: {' '.join(message.split())}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="rnp",
        description="Find backdoors in PyTorch image classifiers with clean images only.",
    )
    parser.add_argument("--version", action="version", version=f"rnp {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    scan = commands.add_parser(
        "scan",
        help="scan one checkpoint",
        description="Scan one checkpoint and write report.json, pictures and the repaired model.",
        epilog="Exit codes: 0 no evidence found, 1 backdoored or suspicious, 2 error, "
        "3 inconclusive.",
    )
    scan.add_argument(
        "checkpoint", nargs="?", help="checkpoint file, or demo:NAME (see `rnp demo`)"
    )
    scan.add_argument(
        "--clean",
        type=path_argument,
        help="clean labelled images: folder of class folders, zip or npz (default: those that came "
        "with the checkpoint, as in TrojAI's folders)",
    )
    scan.add_argument("--out", type=path_argument, required=True, help="folder for the results")
    scan.add_argument(
        "--suspects", type=path_argument, help="images to triage: folder, zip or npz"
    )
    scan.add_argument("--mean", help="channel means, e.g. 0.49,0.48,0.45 (with --std)")
    scan.add_argument("--std", help="channel standard deviations (with --mean)")
    add_settings(scan)
    scan.add_argument("--force", action="store_true", help="replace an earlier scan in --out")
    scan.add_argument("--json", action="store_true", help="print the report as JSON")
    scan.add_argument("--quiet", action="store_true", help="print nothing but errors")
    scan.add_argument(
        "--home", type=path_argument, help="folder of the history (default: $RNP_HOME)"
    )
    scan.add_argument("--no-history", action="store_true", help="do not record this scan")
    _add_limits(scan, memory="16", seconds="21600")
    add_from_report(scan)
    scan.set_defaults(run=lambda options: _scan(options, scan))

    inspect = commands.add_parser(
        "inspect", help="show what a checkpoint file is and would import; nothing in it runs"
    )
    inspect.add_argument("checkpoint", type=path_argument)
    inspect.add_argument("--json", action="store_true", help="print JSON")
    add_reading_limits(inspect)
    _add_limits(inspect, memory="4", seconds="300")
    inspect.set_defaults(run=_inspect)

    demo = commands.add_parser("demo", help="list the built-in demo models")
    demo.set_defaults(run=_demo)
    add_fleet(commands)
    add_history(commands)
    for name, (_, summary, _) in _NEIGHBOURS.items():
        commands.add_parser(name, help=summary)
    add_report(commands)
    return parser


def _add_limits(command: argparse.ArgumentParser, *, memory: str, seconds: str) -> None:
    command.add_argument(
        "--memory",
        type=float,
        metavar="GIB",
        help=f"memory limit of the child process that does the work (default: {memory})",
    )
    command.add_argument(
        "--time-limit",
        type=float,
        metavar="SECONDS",
        help=f"time limit of that process (default: {seconds})",
    )


def _limits(options: argparse.Namespace, default: IsolationLimits) -> IsolationLimits:
    """``default`` with what ``--memory`` and ``--time-limit`` say."""
    import dataclasses

    limits = default
    if options.memory is not None:
        try:
            limits = dataclasses.replace(limits, memory_bytes=int(options.memory * (1 << 30)))
        except (ValueError, OverflowError):
            raise ConfigError(f"expected --memory in GiB, got {options.memory}") from None
    if options.time_limit is not None:
        limits = dataclasses.replace(limits, seconds=options.time_limit)
    return limits


def _scan(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from rnp_core.isolation import SCAN_LIMITS
    from rnp_core.request import ScanRequest

    check_from_report(options, parser)
    if options.from_report is not None:
        with _Bars(hidden=options.quiet or options.json) as bars:
            limits = _limits(options, SCAN_LIMITS)
            return repeat_scan(options, limits, bars.update, EXIT_CODES.__getitem__)
    checkpoint, clean, suspects = _inputs(options)
    request = ScanRequest(
        checkpoint=str(checkpoint),
        clean=None if clean is None else str(clean),
        out=str(options.out),
        suspects=None if suspects is None else str(suspects),
        mean=_numbers(options.mean, "--mean"),
        std=_numbers(options.std, "--std"),
        force=options.force,
        **read_settings(options),
    )
    limits = _limits(options, SCAN_LIMITS)
    with _Bars(hidden=options.quiet or options.json) as bars:
        report = _recorded(request, options, limits, bars)
    if options.json:
        print(report.to_json(), end="")
    elif not options.quiet:
        _summary(report, options.out)
    return EXIT_CODES[report.verdict]


def _recorded(
    request: ScanRequest, options: argparse.Namespace, limits: IsolationLimits, bars: _Bars
) -> ScanReport:
    """Scan, and let the history know unless that is not wanted."""
    if options.no_history:
        from rnp_core.isolation import isolated_scan

        return isolated_scan(request, limits=limits, on_progress=bars.update)
    from rnp_core.jobs import default_home
    from rnp_core.jobs.recorded import recorded_scan

    return recorded_scan(
        request,
        home=options.home or default_home(),
        limits=limits,
        on_progress=bars.update,
        on_warning=lambda text: print(f"rnp: {text}", file=sys.stderr),
    )


def _inputs(options: argparse.Namespace) -> tuple[Path, Path | None, Path | None]:
    """Checkpoint, clean images and suspects; a demo model brings its own images."""
    if not options.checkpoint:
        raise ConfigError("expected a checkpoint to scan, got an empty text")
    if not options.checkpoint.startswith(DEMO):
        return Path(options.checkpoint), options.clean, options.suspects
    from rnp_core.demo import find_demo

    demo = find_demo(options.checkpoint.removeprefix(DEMO))
    return demo.checkpoint, options.clean or demo.clean, options.suspects or demo.suspects


def _numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"expected numbers like 0.5,0.5,0.5 for {option}, got {text!r}") from None


def _inspect(options: argparse.Namespace) -> int:
    from rnp_core.cli_inspect import print_inspection
    from rnp_core.isolation import INSPECT_LIMITS, isolated_inspect

    inspection = isolated_inspect(
        options.checkpoint,
        limits=_limits(options, INSPECT_LIMITS),
        read_limits=options.limit or (),
    )
    if options.json:
        print(json.dumps(inspection, indent=1, ensure_ascii=False))
    else:
        print_inspection(inspection)
    return 2 if inspection["refusal"] else 0


def _demo(options: argparse.Namespace) -> int:
    from rnp_core.demo import list_demos

    for demo in list_demos():
        print(f"{DEMO}{demo.name:14} {demo.title}")
    print(f"\nScan one with: rnp scan {DEMO}NAME --out DIR")
    return 0


class _Bars:
    """Live progress bars on standard error; plain lines are left out when it is no terminal."""

    def __init__(self, *, hidden: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.fields[stage]:>12}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[left]}", markup=False),
            console=console,
            disable=hidden or not console.is_terminal,
        )
        self._tasks: dict[tuple[str, str], object] = {}
        self._last = ("", -1)

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._bars.stop()

    def update(self, progress: Progress) -> None:
        """Show one step; a stage that starts again gets a new bar."""
        from rnp_core.scan_clock import SECONDS_LEFT, time_left

        key = (progress.stage, progress.message if progress.stage == "triggers" else "")
        restarted = self._last[0] == str(key) and progress.step < self._last[1]
        if key not in self._tasks or restarted:
            for task in self._bars.task_ids:
                self._bars.update(task, left="")
            self._tasks[key] = self._bars.add_task(
                progress.message, total=progress.total, stage=progress.stage, left=""
            )
        left = progress.values.get(SECONDS_LEFT)
        self._last = (str(key), progress.step)
        self._bars.update(
            self._tasks[key],  # type: ignore[arg-type]
            completed=progress.step,
            total=progress.total,
            description=progress.message,
            left=time_left(left) if isinstance(left, float) else "",
        )


def _summary(report: ScanReport, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    style = {"backdoored": "bold red", "suspicious": "bold yellow", "no_evidence": "bold green"}
    word = {"no_evidence": "NO EVIDENCE FOUND"}.get(report.verdict, report.verdict.upper())
    console.print(
        f"[{style.get(report.verdict, 'bold')}]{word}[/]  score {report.backdoor_score:.2f}"
    )
    console.print(_safe(report.verdict_reason))
    facts = Table.grid(padding=(0, 2))
    model, accuracy = report.model, report.accuracy
    facts.add_row("model", _safe(f"{model.file_name}, {model.architecture}"))
    facts.add_row("classes", str(model.num_classes))
    facts.add_row("normalisation", model.normalization.source)
    removed = report.was_repaired
    after = f", {accuracy.clean_after:.3f} after removal" if removed else ""
    facts.add_row(
        "accuracy", f"{accuracy.clean_before:.3f}{' before' if removed else ''}{after} "
        f"(n = {accuracy.count})"
    )
    if removed and accuracy.flip_rate_before is not None:
        facts.add_row(
            "trigger",
            f"flips {accuracy.flip_rate_before:.0%} before, {accuracy.flip_rate_after or 0:.0%} "
            "after removal (estimated with the recovered trigger)",
        )
        facts.add_row("pruned", f"{len(report.pruned_filters)} filters")
    if not removed:
        ended = [row for row in report.stages if row.name == "removal" and row.status != "done"]
        reasons = [f", the stage was {row.status}: {row.detail}" for row in ended if row.detail]
        facts.add_row("removal", _safe("".join(["nothing was removed", *reasons])))
    if report.samples:
        flagged = sum(sample.flagged for sample in report.samples)
        facts.add_row("suspects", f"{flagged} of {len(report.samples)} flagged")
    facts.add_row("time", f"{sum(stage.seconds for stage in report.stages):.0f} s")
    facts.add_row("results", _safe(str(out)))
    console.print(facts)
    if report.labels:
        table = Table("label", "name", "unlearned share", "trigger px", "ratio", "score")
        for row in report.ranked_labels[:5]:
            table.add_row(
                str(row.label),
                _safe(row.name),
                f"{row.unlearned_share:.2f}",
                _number(row.trigger_norm, ".1f"),
                _number(row.norm_ratio, ".2f"),
                f"{row.score:.2f}",
            )
        console.print(table)
    for finding in report.findings:
        if finding.stage != "target label" and finding.severity != "info":
            console.print(_safe(f"{finding.severity}: {finding.message}"))


def _safe(text: str) -> str:
    """Other people's text for a terminal: no markup, and control characters made visible."""
    from rich.markup import escape

    from rnp_core.reports.text import shown

    return escape(shown(text, most=2000))


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or value != value else format(value, form)


def _one_line(error: BaseException) -> str:
    """The lines of a message as one, parted by semicolons where they lack a mark of their own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    parted = [line if line[-1] in ".:;," else f"{line};" for line in lines[:-1]]
    return " ".join([*parted, *lines[-1:]])
