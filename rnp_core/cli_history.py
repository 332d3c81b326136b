"""``rnp history``: find earlier scans, decide about them, move and delete them."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnp_core.cli_history_view import agreement, plain_job, print_job, print_jobs, printable
from rnp_core.errors import JobError

if TYPE_CHECKING:
    from rnp_core.jobs import History, JobEngine, JobFilter
    from rnp_core.progress import Progress

_STATES = ("queued", "running", "done", "failed", "cancelled", "interrupted")
_VERDICTS = ("backdoored", "suspicious", "no_evidence", "inconclusive")
_DECISIONS = ("confirmed", "false_alarm", "escalate")
_LIMIT = 20
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
        print(json.dumps([plain_job(job) for job in jobs], indent=1))
        return 0
    print_jobs(jobs)
    if total > len(jobs):
        print(f"{len(jobs)} of {total}; --limit shows more")
    if options.hash:
        print(agreement(jobs))
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


def _show(options: argparse.Namespace) -> int:
    with _open(options) as history:
        job = history.job(options.id)
        decisions = history.dispositions(job.id)
        others = [j for j in history.find_scans(job.checkpoint_sha256) if j.id != job.id]
    if options.json:
        values = {
            **plain_job(job),
            "dispositions": [dataclasses.asdict(decision) for decision in decisions],
            "same_checkpoint": [plain_job(other) for other in others],
        }
        print(json.dumps(values, indent=1))
        return 0
    print_job(job, decisions)
    if others:
        print("\nother scans of the same checkpoint:")
        print_jobs(others)
        print(agreement([job, *others]))
    return 0


# --- changing ----------------------------------------------------------------------------------


def _tag(options: argparse.Namespace) -> int:
    with _open(options) as history:
        if options.remove:
            kept = [tag for tag in history.job(options.id).tags if tag not in options.tags]
            history.set_tags(options.id, kept)
        else:
            history.add_tags(options.id, options.tags)
        print(printable(", ".join(history.job(options.id).tags)) or "no tags")
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
            print(f"{job.id} {job.verdict or job.state} {printable(job.run_folder)}")
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
