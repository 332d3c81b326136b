"""How ``rnp history`` shows scans."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnp_core.jobs import Disposition, Job

_WIDTH = 160  # of tables that do not go to a terminal


def print_jobs(jobs: Sequence[Job]) -> None:
    """A table with a line for each."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("id", no_wrap=True)
    for name in ("submitted", "scan", "verdict", "preset", "decision", "tags"):
        table.add_column(name, overflow="fold")
    for job in jobs:
        table.add_row(
            job.id,
            _safe(_when(job.created_at)),
            _safe(job.title),
            _result(job),
            _safe(job.request.preset),
            job.disposition.disposition if job.disposition else "-",
            _safe(", ".join(job.tags)),
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH).print(table)


def print_job(job: Job, decisions: Sequence[Disposition]) -> None:
    """Everything about one scan."""
    from rich.console import Console
    from rich.table import Table

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


def agreement(jobs: Sequence[Job]) -> str:
    """What scans of one checkpoint agree on."""
    counts = Counter(job.verdict for job in jobs if job.state == "done" and job.verdict)
    if not counts:
        return "no finished scan of this checkpoint"
    if len(counts) == 1:
        verdict, count = next(iter(counts.items()))
        return f"scanned {count} time{'s' if count > 1 else ''}: {verdict}"
    shown = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    return f"the verdicts differ: {shown}"


def plain_job(job: Job) -> dict[str, Any]:
    """A job as JSON values."""
    return {**dataclasses.asdict(job), "run_folder": str(job.run_folder)}


def printable(value: object) -> str:
    """Text of a file without control characters."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def _safe(value: object) -> str:
    """The same for tables, where markup is only text."""
    from rich.markup import escape

    return escape(printable(value))


def _when(time_text: str | None) -> str:
    return "" if time_text is None else printable(time_text[:16].replace("T", " "))


def _result(job: Job) -> str:
    if job.state != "done":
        return job.state
    score = "" if job.backdoor_score is None else f" {job.backdoor_score:.2f}"
    return f"{job.verdict or job.kind}{score}"
