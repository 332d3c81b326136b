"""Scanning many models through an engine: cheap evidence first, then whole scans, the most
suspicious ones first. Everything that is known lies in the engine's table, so a fleet that was
interrupted goes on when it is run again."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnp_core.errors import ConfigError, JobError, RnpError
from rnp_core.jobs.engine import JobEngine
from rnp_core.jobs.fleet_member import Member
from rnp_core.jobs.fleet_models import FleetModel
from rnp_core.jobs.fleet_output import FleetOutput
from rnp_core.jobs.fleet_ranking import FleetRow, rank
from rnp_core.jobs.identity import Identity
from rnp_core.jobs.types import Job, JobKind
from rnp_core.request import ScanRequest

POLL_SECONDS = 0.3
WINDOW = 1000
"""Jobs of one kind that are in the queue at once."""

_LOOK_SECONDS = 1.0  # of hashing checkpoints before jobs are submitted again
_BUSY_SHARE = 0.25  # of the time that looking after a large fleet may take
_TRIAGE_PRIORITY = -1.0  # after the scans of people, which have 0, and before whole scans
_SCAN_PRIORITY = -3.0  # and the score
_MOST_ATTEMPTS = 3  # of a job whose worker keeps disappearing


@dataclass(frozen=True)
class FleetProgress:
    """Where a fleet stands.

    Attributes:
        rows: the ranking so far, of the checkpoints that were looked at.
        total: checkpoints; each distinct one counts once, as soon as that is known.
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


class Fleet:
    """The models of one fleet and their jobs.

    Args:
        engine: runs the jobs and remembers them.
        settings: fields of :class:`ScanRequest` for every scan, besides its paths.
        clean: clean images for the models that bring none.
        out: folder for the ranking and the reports.
        scan_share: share of the models, the most suspicious ones, that get a whole scan.
        triage_from: fleets of fewer models go without the cheap evidence.
        retry_failed: whether jobs of this fleet that failed in an earlier run are run again.

    Raises:
        ConfigError: when a setting is out of range.
    """

    def __init__(
        self,
        engine: JobEngine,
        models: Sequence[FleetModel],
        settings: Mapping[str, Any],
        *,
        clean: Path | None,
        out: Path,
        scan_share: float = 1.0,
        triage_from: int = 5,
        retry_failed: bool = False,
    ) -> None:
        if not 0 < scan_share <= 1:
            raise ConfigError(f"expected a share above 0 and up to 1, got {scan_share}")
        ScanRequest("model", "clean", "run", **settings)  # a wrong setting is wrong for all
        self.tag = fleet_tag(out)
        self._engine = engine
        self._settings = settings
        self._clean = clean
        facts = {**settings, "clean": str(clean) if clean else None}
        self._output = FleetOutput(
            out.absolute(), {"fleet": self.tag, "home": str(engine.home), "settings": facts}
        )
        self._scan_share = scan_share
        self._again = ("interrupted", "cancelled", *(("failed",) if retry_failed else ()))
        self._with_triage = len(models) >= triage_from or scan_share < 1
        self._unseen = deque(models)
        self._members: dict[tuple[str, str], Member] = {}
        self._broken: list[FleetRow] = []
        self._own: set[str] = set()
        self._refusal = ""

    def run(self, on_update: OnFleet = lambda progress: None) -> list[FleetRow]:
        """Scan everything that was not scanned before; returns the ranking, also written to files.

        When it is stopped by an exception, of ``on_update`` or from a key, its waiting jobs leave
        the queue and the ranking is written as it stands.

        Raises:
            ReportError: when the ranking cannot be written.
            JobError: when no job can be submitted and none is under way.
        """
        try:
            while True:
                start = time.monotonic()
                self._look()
                self._refresh()
                self._submit()
                progress = self._progress()
                on_update(progress)
                if progress.finished == progress.total:
                    break
                self._output.update(progress.rows)
                spent = time.monotonic() - start
                if not self._unseen:
                    time.sleep(max(POLL_SECONDS, spent / _BUSY_SHARE))
        except BaseException:
            self._withdraw()
            raise
        self._output.write(progress.rows, complete=True)
        return progress.rows

    # --- who takes part ------------------------------------------------------------------------

    def _look(self) -> None:
        """Look at more checkpoints for a while: the first ones run while others are hashed."""
        end = time.monotonic() + _LOOK_SECONDS
        while self._unseen:
            model = self._unseen.popleft()
            try:
                self._add(model)
            except RnpError as error:
                self._broken.append(
                    FleetRow(str(model.path), "", "failed", verdict="error", error=str(error))
                )
            if time.monotonic() >= end:
                return

    def _add(self, model: FleetModel) -> None:
        """Make the model a member, with the jobs that are there already; a copy joins another."""
        clean = model.clean or (None if model.brings_images else self._clean)
        request = ScanRequest(
            str(model.path), None if clean is None else str(clean), "run", **self._settings
        )
        identity = self._engine.identify(request)
        key = (identity.sha256, identity.settings_key)
        if key in self._members:
            self._members[key].copies.append(str(model.path))
            return
        member = self._members[key] = Member(model.path, request, identity)
        member.scan = self._known(identity, "scan")
        member.triage = self._known(identity, "triage")
        member.earlier = member.scan is not None and member.scan.state == "done"

    def _known(self, identity: Identity, kind: JobKind) -> Job | None:
        """A job that is done, under way, or was of this fleet before it ended without a result."""
        if (current := self._engine.find_current(identity, kind=kind)) is not None:
            self._engine.add_tags(current.id, ("fleet", self.tag))
            return current
        same = self._engine.find_same(identity, kind=kind)
        own = [job for job in same if self.tag in job.tags]
        for job in own:
            if job.state in self._again:
                self._engine.resume(job.id)
                self._own.add(job.id)
                return self._engine.job(job.id)
        return next((job for job in own if job.state == "failed"), None)

    # --- the loop ------------------------------------------------------------------------------

    def _refresh(self) -> None:
        active = {job.id: member for member in self._members.values() if (job := member.active)}
        states = self._engine.states(list(active))
        for job_id, member in active.items():
            job = member.active
            if job is None or states.get(job_id) == job.state:
                continue
            if job_id not in states:  # somebody deleted it
                member.error = f"job {job_id} was deleted"
                continue
            job = self._engine.job(job_id)
            if job.state == "interrupted" and job.attempts < _MOST_ATTEMPTS:
                self._engine.resume(job_id)
                self._own.add(job_id)
                job = self._engine.job(job_id)
            member.update(job)

    def _submit(self) -> None:
        """Keep the queue filled: triages first, then whole scans by their score."""
        self._refusal = ""
        members = list(self._members.values())
        waiting = [m for m in members if m.scan is None and not m.error]
        if self._with_triage:
            room = WINDOW - sum(m.active is not None and m.active is m.triage for m in members)
            for member in [m for m in waiting if m.triage is None][:max(0, room)]:
                member.triage = self._send(member, "triage", _TRIAGE_PRIORITY)
        if not self._with_triage:
            ready = waiting
        elif self._scan_share < 1:
            ready = self._chosen(members)
        else:
            ready = [m for m in waiting if m.has_triage]
        room = WINDOW - sum(m.active is not None and m.active is m.scan for m in members)
        for member in sorted(ready, key=lambda m: -m.score)[:max(0, room)]:
            member.scan = self._send(member, "scan", _SCAN_PRIORITY + member.score)

    def _chosen(self, members: list[Member]) -> list[Member]:
        """The most suspicious share, once every triage has ended."""
        if self._unseen or any(m.scan is None and not m.triage_ended for m in members):
            return []
        count = max(1, round(self._scan_share * len(members)))
        able = [m for m in members if m.scan or m.has_triage]
        order = sorted(able, key=lambda m: -m.cheap_score)
        for member in order[count:]:
            member.left_at_triage = member.scan is None
        return [m for m in order[:count] if m.scan is None and not m.error]

    def _send(self, member: Member, kind: JobKind, priority: float) -> Job | None:
        """Submit unless somebody did so meanwhile; None while the queue or the disk has no room,
        or for good with an error."""
        if self._refusal:
            return None
        try:
            job_id = self._engine.submit(
                member.request, kind=kind, priority=priority, tags=("fleet", self.tag), once=True
            )
        except JobError as error:
            if not any(m.active for m in self._members.values()):
                raise
            self._refusal = str(error)
            return None
        except RnpError as error:  # a file that was there vanished
            member.error = str(error)
            return None
        job = self._engine.job(job_id)
        if self.tag in job.tags:
            self._own.add(job_id)
        else:  # somebody was faster
            self._engine.add_tags(job_id, ("fleet", self.tag))
        return job

    def _withdraw(self) -> None:
        """Take waiting jobs of this fleet alone out of the queue; they go on when it is run
        again."""
        with contextlib.suppress(RnpError):
            for job_id, state in self._engine.states(list(self._own)).items():
                fleets = {t for t in self._engine.job(job_id).tags if t.startswith("fleet:")}
                if state == "queued" and fleets == {self.tag}:
                    self._engine.cancel(job_id)
            self._output.write(self._progress().rows, complete=False)

    # --- what came of it -----------------------------------------------------------------------

    def _progress(self) -> FleetProgress:
        members = self._members.values()
        rows = [*(member.row() for member in members), *self._broken]
        return FleetProgress(
            rows=rank(rows),
            total=len(rows) + len(self._unseen),
            triaged=sum(row.evidence != "none" or row.verdict == "error" for row in rows),
            finished=sum(member.is_final for member in members) + len(self._broken),
            running=sum(job is not None and job.state == "running"
                        for job in (member.active for member in members)),
            problem=self._refusal or self._engine.problem,
        )


def fleet_tag(out: Path) -> str:
    """Tag of every job of the fleet whose results go to ``out``."""
    place = str(out.expanduser().absolute())
    return f"fleet:{out.absolute().name}-{hashlib.sha256(place.encode()).hexdigest()[:6]}"
