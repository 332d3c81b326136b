"""Scanning many models through an engine: cheap evidence first, then whole scans, the most
suspicious ones first. Everything that is known lies in the engine's table, so a fleet that was
interrupted goes on when it is run again."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from rnp_core.errors import ConfigError, ReportError, RnpError
from rnp_core.jobs.engine import JobEngine
from rnp_core.jobs.fleet_models import FleetModel
from rnp_core.jobs.fleet_ranking import FleetRow, rank, write_ranking
from rnp_core.jobs.identity import Identity
from rnp_core.jobs.types import FINAL_STATES, Job, JobKind
from rnp_core.request import ScanRequest

POLL_SECONDS = 0.3
WRITE_SECONDS = 5.0
"""The ranking is written at most this often while the fleet runs, and at its end."""

_TRIAGE_PRIORITY = 10.0  # before every whole scan, whose priority is a score
_MOST_ATTEMPTS = 3  # of a job whose worker keeps disappearing
_WINDOW = 1000  # jobs of one kind that are in the queue at once


@dataclass(frozen=True)
class FleetProgress:
    """Where a fleet stands.

    Attributes:
        rows: the ranking so far.
        total: distinct checkpoints.
        triaged: of them with cheap evidence or more.
        finished: of them with a result that will not change.
        running: jobs that run.
        problem: why nothing runs, or empty.
    """

    rows: list[FleetRow]
    total: int
    triaged: int
    finished: int
    running: int
    problem: str


OnFleet = Callable[[FleetProgress], None]


@dataclass
class _Member:
    """One distinct checkpoint on its way."""

    path: Path
    request: ScanRequest
    identity: Identity
    copies: list[str] = field(default_factory=list)
    triage: Job | None = None
    scan: Job | None = None
    earlier: bool = False
    left_at_triage: bool = False

    @property
    def active(self) -> Job | None:
        """The job that has not ended."""
        for job in (self.scan, self.triage):
            if job is not None and job.state not in FINAL_STATES:
                return job
        return None


class Fleet:
    """The models of one fleet and their jobs.

    Args:
        engine: runs the jobs and remembers them.
        request: settings of every scan; its ``checkpoint`` and ``out`` do not matter, and ``clean``
            serves the models that bring no images.
        out: folder for the ranking and the reports.
        scan_share: share of the models, the most suspicious ones, that get a whole scan.
        triage_from: fleets of fewer models go without the cheap evidence.

    Raises:
        ConfigError: when a setting is out of range.
    """

    def __init__(
        self,
        engine: JobEngine,
        models: Sequence[FleetModel],
        request: ScanRequest,
        *,
        out: Path,
        scan_share: float = 1.0,
        triage_from: int = 5,
    ) -> None:
        if not 0 < scan_share <= 1:
            raise ConfigError(f"expected a share above 0 and up to 1, got {scan_share}")
        self.tag = fleet_tag(out)
        self._engine = engine
        self._request = request
        self._models = models
        self._out = out.absolute()
        self._scan_share = scan_share
        self._triage_from = triage_from
        self._members: dict[tuple[str, str], _Member] = {}
        self._broken: list[FleetRow] = []
        self._written = 0.0

    def run(self, on_update: OnFleet = lambda progress: None) -> list[FleetRow]:
        """Scan everything that was not scanned before; returns the ranking, also written to files.

        Raises:
            ReportError: when the ranking cannot be written.
            RnpError: when no job can be submitted any more.
        """
        self._identify()
        self._attach()
        while True:
            self._refresh()
            self._submit()
            progress = self._progress()
            on_update(progress)
            if progress.finished == progress.total:
                break
            if time.monotonic() - self._written > WRITE_SECONDS:
                self._write(progress.rows, whole=False)
                self._written = time.monotonic()
            time.sleep(POLL_SECONDS)
        self._write(progress.rows, whole=True)
        return progress.rows

    # --- who takes part ------------------------------------------------------------------------

    def _identify(self) -> None:
        """Distinct checkpoints by content; what cannot be read becomes a row at once."""
        for model in self._models:
            clean = str(model.clean) if model.clean else self._request.clean
            request = dataclasses.replace(
                self._request,
                checkpoint=str(model.path),
                clean=None if model.brings_images and not model.clean else clean,
            )
            try:
                identity = self._engine.identify(request)
            except RnpError as error:
                self._broken.append(
                    FleetRow(str(model.path), "", "failed", verdict="error", error=str(error))
                )
                continue
            key = (identity.sha256, identity.settings_key)
            if key in self._members:
                self._members[key].copies.append(str(model.path))
            else:
                self._members[key] = _Member(model.path, request, identity)

    def _attach(self) -> None:
        """Take over jobs that are there already, done or under way."""
        for member in self._members.values():
            for kind in ("scan", "triage"):
                job = self._known(member.identity, kind)
                if job is None:
                    continue
                if kind == "scan":
                    member.scan, member.earlier = job, job.state == "done"
                else:
                    member.triage = job

    def _known(self, identity: Identity, kind: JobKind) -> Job | None:
        same = self._engine.find_same(identity, kind=kind)
        done = [job for job in same if job.state == "done" and job.run_folder.is_dir()]
        under_way = [job for job in same if job.state in ("queued", "running")]
        if done or under_way:
            return (done or under_way)[0]
        again = [j for j in same if j.state in ("interrupted", "cancelled") and self.tag in j.tags]
        if again:
            self._engine.resume(again[0].id)
            return self._engine.job(again[0].id)
        failed = [job for job in same if job.state == "failed" and self.tag in job.tags]
        return failed[0] if failed else None

    # --- the loop ------------------------------------------------------------------------------

    def _refresh(self) -> None:
        for member in self._members.values():
            job = member.active
            if job is None:
                continue
            fresh = self._engine.job(job.id)
            if fresh.state == "interrupted" and fresh.attempts < _MOST_ATTEMPTS:
                self._engine.resume(fresh.id)
                fresh = self._engine.job(fresh.id)
            if fresh.kind == "scan":
                member.scan = fresh
            else:
                member.triage = fresh

    def _submit(self) -> None:
        """Keep the queue filled: triages first, then whole scans by their score."""
        members = list(self._members.values())
        fresh = [m for m in members if m.scan is None]
        if len(fresh) >= self._triage_from or any(m.triage for m in fresh):
            room = _WINDOW - sum(1 for m in members if m.triage and m.active is m.triage)
            for member in [m for m in fresh if m.triage is None][:max(0, room)]:
                member.triage = self._send(member, "triage", _TRIAGE_PRIORITY)
            ready = [m for m in fresh if m.triage is not None and m.triage.state == "done"]
            if self._scan_share < 1:
                ready = self._chosen(members, fresh)
        else:
            ready = fresh
        room = _WINDOW - sum(1 for m in members if m.scan and m.active is m.scan)
        ready = [m for m in ready if not m.left_at_triage]
        for member in sorted(ready, key=_cheap_score, reverse=True)[:max(0, room)]:
            member.scan = self._send(member, "scan", _cheap_score(member))

    def _chosen(self, members: list[_Member], fresh: list[_Member]) -> list[_Member]:
        """The most suspicious share, once every triage has ended."""
        if any(m.triage is None or m.triage.state not in FINAL_STATES for m in fresh):
            return []
        count = max(1, round(self._scan_share * len(members)))
        able = [m for m in members if m.scan or (m.triage and m.triage.state == "done")]
        order = sorted(able, key=_cheap_score, reverse=True)
        for member in order[count:]:
            member.left_at_triage = member.scan is None
        return [m for m in order[:count] if m.scan is None]

    def _send(self, member: _Member, kind: JobKind, priority: float) -> Job:
        job_id = self._engine.submit(
            member.request, kind=kind, priority=priority, tags=("fleet", self.tag)
        )
        return self._engine.job(job_id)

    # --- what came of it -----------------------------------------------------------------------

    def _progress(self) -> FleetProgress:
        members = list(self._members.values())
        rows = [*(self._row(member) for member in members), *self._broken]
        active = [member.active for member in members]
        return FleetProgress(
            rows=rank(rows),
            total=len(rows),
            triaged=sum(row.evidence != "none" or row.verdict == "error" for row in rows),
            finished=sum(self._is_final(m) for m in members) + len(self._broken),
            running=sum(job is not None and job.state == "running" for job in active),
            problem=self._engine.problem,
        )

    def _is_final(self, member: _Member) -> bool:
        if member.scan is not None:
            return member.scan.state in FINAL_STATES
        failed = member.triage is not None and member.triage.state in (
            "failed", "cancelled", "interrupted",
        )
        return failed or member.left_at_triage

    def _row(self, member: _Member) -> FleetRow:
        job = member.scan or member.triage
        row = FleetRow(
            str(member.path),
            member.identity.sha256,
            job.state if job else "queued",
            copies=tuple(member.copies),
            earlier=member.earlier,
        )
        if job is None:
            return row
        row = dataclasses.replace(row, job=job.id, seconds=_seconds(job))
        if job.kind == "scan" and job.state == "done":
            return dataclasses.replace(
                row,
                evidence="scan",
                verdict=job.verdict,
                score=job.backdoor_score,
                labels=job.suspected_target_labels,
                report=f"reports/{job.id}.json",
                run_folder=str(job.run_folder),
            )
        if member.triage is not None and member.triage.state == "done":
            row = dataclasses.replace(
                row,
                evidence="triage",
                score=member.triage.backdoor_score,
                labels=member.triage.suspected_target_labels,
                state="triaged" if member.left_at_triage else row.state,
            )
        if job.state in ("failed", "cancelled", "interrupted"):
            row = dataclasses.replace(row, verdict="error", error=job.error or job.state)
        return row

    def _write(self, rows: list[FleetRow], *, whole: bool) -> None:
        facts = {
            "fleet": self.tag,
            "home": str(self._engine.home),
            "complete": whole,
            "settings": {
                k: v for k, v in self._request.to_dict().items() if k not in ("checkpoint", "out")
            },
        }
        write_ranking(rows, self._out, facts)
        folder = self._out / "reports"
        try:
            folder.mkdir(exist_ok=True)
            for row in rows:
                target = self._out / row.report
                if row.report and not target.exists():
                    temporary = target.with_suffix(".new")
                    shutil.copyfile(Path(row.run_folder) / "report.json", temporary)
                    temporary.replace(target)
        except OSError as error:
            raise ReportError(f"cannot write reports to {folder}: {error.strerror}") from error


def fleet_tag(out: Path) -> str:
    """Tag of every job of the fleet whose results go to ``out``."""
    place = str(out.expanduser().absolute())
    return f"fleet:{out.absolute().name}-{hashlib.sha256(place.encode()).hexdigest()[:6]}"


def _cheap_score(member: _Member) -> float:
    for job in (member.scan, member.triage):
        if job is not None and job.backdoor_score is not None:
            return job.backdoor_score
    return 0.0


def _seconds(job: Job) -> float | None:
    if job.started_at is None or job.finished_at is None:
        return None
    end, start = datetime.fromisoformat(job.finished_at), datetime.fromisoformat(job.started_at)
    return round((end - start).total_seconds(), 3)
