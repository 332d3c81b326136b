"""``rnp history``: find earlier scans, decide about them, move and delete them."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnp_core.errors import JobError

if TYPE_CHECKING:
    from rnp_core.jobs import History, Job, JobEngine, JobFilter
    from rnp_core.progress import Progress

_STATES = ("queued", "running", "done", "failed", "cancelled", "interrupted")
_VERDICTS = ("backdoored", "suspicious", "no_evidence", "inconclusive")
_DECISIONS = ("confirmed", "false_alarm", "escalate")
_LIMIT = 20
_WIDTH = 160  # of tables that do not go to a terminal
_CANCEL_SECONDS = 3.0


def add_history(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of the program."""
    history = commands.add_parser(
        "history",
        help="find, decide about, move and delete earlier scans",
        description="Without an action: list scans, the newest first.",
    )
    _add_filters(history)
    history.set_defaults(run=_listing)
    actions = history.add_subparsers(metavar="ACTION")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str,
            **options: Any) -> argparse.ArgumentParser:
        action = actions.add_parser(
            name, help=text, argument_default=argparse.SUPPRESS, **options
        )
        action.add_argument("--home", type=Path, help="folder of the history")
        action.set_defaults(run=run)
        return action

    listing = add("list", _listing, "list scans, the newest first")
    _add_filters(listing, home=False)
    show = add("show", _show, "one scan, its decisions, and other scans of the same checkpoint")
    show.add_argument("id", metavar="ID")
    show.add_argument("--json", action="store_true", help="print JSON")
    tag = add("tag", _tag, "add tags, or take them away")
    tag.add_argument("id", metavar="ID")
    tag.add_argument("tags", metavar="TAG", nargs="+")
    tag.add_argument("--remove", action="store_true", default=False, help="take them away")
    decide = add("decide", _decide, "write down a reviewer's decision; earlier ones stay")
    decide.add_argument("id", metavar="ID")
    decide.add_argument("disposition", type=_decision, choices=_DECISIONS)
    decide.add_argument("--reviewer", required=True, metavar="NAME", help="who decides")
    decide.add_argument("--note", default="", help="why")
    for name, run, text in (
        ("delete", _delete, "forget scans and remove their files"),
        ("cancel", _cancel, "cancel waiting and running scans"),
        ("resume", _resume, "run scans that failed or were cancelled or interrupted again, now; "
                            "finished stages are not repeated"),
    ):
        add(name, run, text).add_argument("ids", metavar="ID", nargs="+")
    export = add("export", _export, "write a finished scan with its files into a zip file")
    export.add_argument("id", metavar="ID")
    export.add_argument("file", metavar="FILE", type=Path)
    export.add_argument("--force", action="store_true", default=False, help="replace FILE")
    take = add("import", _import, "take scans from zip files that export wrote")
    take.add_argument("files", metavar="FILE", type=Path, nargs="+")


def _add_filters(command: argparse.ArgumentParser, *, home: bool = True) -> None:
    if home:
        command.add_argument("--home", type=Path, help="folder of the history (default: $RNP_HOME)")
    command.add_argument("--hash", metavar="SHA256|FILE",
                         help="of this checkpoint: its digest, the beginning of it, or the file")
    command.add_argument("--verdict", choices=_VERDICTS)
    command.add_argument("--state", choices=_STATES)
    command.add_argument("--tag")
    command.add_argument("--disposition", type=_decision, choices=_DECISIONS,
                         help="the reviewer's latest decision")
    command.add_argument("--text", help="words in title, checkpoint name, tags or digest")
    command.add_argument("--triage", action="store_true", help="the triages of fleets as well")
    command.add_argument("--limit", type=int, help=f"most to list (default: {_LIMIT})")
    command.add_argument("--json", action="store_true", help="print JSON")


def _decision(text: str) -> str:
    return text.replace("-", "_")


def _open(options: argparse.Namespace) -> JobEngine:
    from rnp_core.jobs import JobEngine, default_home

    return JobEngine(options.home or default_home(), run_jobs=False)


# --- looking -----------------------------------------------------------------------------------


def _listing(options: argparse.Namespace) -> int:
    with _open(options) as history:
        which = _which(history, options)
        total = history.count(which)
        jobs = history.jobs(which, limit=max(0, _LIMIT if options.limit is None else options.limit))
    if options.json:
        print(json.dumps([_plain(job) for job in jobs], indent=1))
        return 0
    _table(jobs)
    if total > len(jobs):
        print(f"{len(jobs)} of {total}; --limit shows more")
    if options.hash:
        print(_verdicts(jobs))
    return 0


def _which(history: History, options: argparse.Namespace) -> JobFilter:
    from rnp_core.jobs import JobFilter

    sha256 = options.hash
    if sha256 is not None:
        if Path(sha256).exists():
            sha256 = history.digest(Path(sha256))
        elif not sha256 or set(sha256.lower()) - set("0123456789abcdef"):
            raise JobError(f"expected a sha256 or a checkpoint file for --hash, got {sha256!r}")
    return JobFilter(
        state=options.state,
        text=options.text or "",
        tag=options.tag,
        verdict=options.verdict,
        sha256=sha256,
        kind=None if options.triage else "scan",
        disposition=options.disposition,
    )


def _verdicts(jobs: Sequence[Job]) -> str:
    """What scans of one checkpoint agree on."""
    counts = Counter(job.verdict for job in jobs if job.state == "done" and job.verdict)
    if not counts:
        return "no finished scan of this checkpoint"
    if len(counts) == 1:
        verdict, count = next(iter(counts.items()))
        return f"scanned {count} time{'s' if count > 1 else ''}: {verdict}"
    shown = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    return f"the verdicts differ: {shown}"


def _show(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    with _open(options) as history:
        job = history.job(options.id)
        decisions = history.dispositions(job.id)
        others = [j for j in history.find_scans(job.checkpoint_sha256) if j.id != job.id]
    if options.json:
        print(json.dumps({
            **_plain(job),
            "dispositions": [dataclasses.asdict(d) for d in decisions],
            "same_checkpoint": [_plain(j) for j in others],
        }, indent=1))
        return 0
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("id", job.id),
        ("title", job.title),
        ("state", f"{job.state}{f' ({job.stage})' if job.state == 'running' else ''}"),
        ("error", job.error),
        ("verdict", job.verdict),
        ("score", None if job.backdoor_score is None else f"{job.backdoor_score:.2f}"),
        ("labels", " ".join(map(str, job.suspected_target_labels))),
        ("checkpoint", job.request.checkpoint),
        ("sha256", job.checkpoint_sha256),
        ("clean images", job.request.clean),
        ("settings", f"{job.request.preset}, seed {job.request.seed}"),
        ("submitted", _when(job.created_at)),
        ("finished", _when(job.finished_at)),
        ("attempts", job.attempts),
        ("results", job.run_folder if job.state == "done" else None),
        ("tags", ", ".join(job.tags)),
        *(("decision", f"{d.disposition} by {d.reviewer}, {_when(d.time)}: {d.note}")
          for d in decisions),
    ):
        if value not in (None, ""):
            facts.add_row(name, _safe(value))
    Console(highlight=False, soft_wrap=True).print(facts)
    if others:
        print("\nother scans of the same checkpoint:")
        _table(others)
        print(_verdicts([job, *others]))
    return 0


def _table(jobs: Sequence[Job]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("id", no_wrap=True)
    for name in ("submitted", "scan", "verdict", "preset", "decision", "tags"):
        table.add_column(name, overflow="fold")
    for job in jobs:
        table.add_row(
            job.id,
            _when(job.created_at),
            _safe(job.title),
            _result(job),
            _safe(job.request.preset),
            job.disposition.disposition if job.disposition else "-",
            _safe(", ".join(job.tags)),
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH).print(table)


def _result(job: Job) -> str:
    if job.state != "done":
        return job.state
    score = "" if job.backdoor_score is None else f" {job.backdoor_score:.2f}"
    return f"{job.verdict or job.kind}{score}"


def _plain(job: Job) -> dict[str, Any]:
    return {**dataclasses.asdict(job), "run_folder": str(job.run_folder)}


def _when(time_text: str | None) -> str:
    return "" if time_text is None else _safe(time_text[:16].replace("T", " "))


def _text(value: object) -> str:
    """Text of a file without control characters."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def _safe(value: object) -> str:
    """The same for tables, where markup is only text."""
    from rich.markup import escape

    return escape(_text(value))


# --- changing ----------------------------------------------------------------------------------


def _tag(options: argparse.Namespace) -> int:
    with _open(options) as history:
        if options.remove:
            kept = [tag for tag in history.job(options.id).tags if tag not in options.tags]
            history.set_tags(options.id, kept)
        else:
            history.add_tags(options.id, options.tags)
        print(_text(", ".join(history.job(options.id).tags)) or "no tags")
    return 0


def _decide(options: argparse.Namespace) -> int:
    with _open(options) as history:
        history.set_disposition(
            options.id, options.disposition, reviewer=options.reviewer, note=options.note
        )
    return 0


def _delete(options: argparse.Namespace) -> int:
    with _open(options) as history:
        for job_id in options.ids:
            history.delete(job_id)
    return 0


def _cancel(options: argparse.Namespace) -> int:
    with _open(options) as engine:
        for job_id in options.ids:
            engine.cancel(job_id)
        end = time.monotonic() + _CANCEL_SECONDS
        while time.monotonic() < end:
            left = [i for i, state in engine.states(options.ids).items() if state == "running"]
            if not left:
                return 0
            time.sleep(0.05)
    raise JobError(f"expected {', '.join(left)} to end, still running; is its program stuck?")


def _resume(options: argparse.Namespace) -> int:
    stage = ""

    def tell(progress: Progress) -> None:
        nonlocal stage
        if progress.stage != stage:
            stage = progress.stage
            print(f"rnp: {stage}", file=sys.stderr)

    with _open(options) as engine:
        for job_id in options.ids:
            job = engine.run_again(job_id, on_progress=tell)
            print(f"{job.id} {job.verdict or job.state} {_text(job.run_folder)}")
    return 0


def _export(options: argparse.Namespace) -> int:
    if options.file.exists() and not options.force:
        raise JobError(f"{options.file} is there already; use --force to replace it")
    with _open(options) as history:
        history.export_run(options.id, options.file)
    return 0


def _import(options: argparse.Namespace) -> int:
    with _open(options) as history:
        for file in options.files:
            print(history.import_run(file))
    return 0
