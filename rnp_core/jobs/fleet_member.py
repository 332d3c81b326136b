"""One distinct checkpoint of a fleet on its way, and its row in the ranking."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from rnp_core.jobs.fleet_ranking import FleetRow
from rnp_core.jobs.identity import Identity
from rnp_core.jobs.types import FINAL_STATES, Job
from rnp_core.request import ScanRequest


@dataclass
class Member:
    """What a fleet knows of a checkpoint.

    Attributes:
        path: the first of its paths.
        request: of its scan.
        identity: tells it from the others.
        copies: further paths with the same bytes.
        triage, scan: its latest jobs.
        earlier: whether a scan from before the fleet was taken.
        left_at_triage: whether it gets no whole scan.
        error: why it could not be submitted.
    """

    path: Path
    request: ScanRequest
    identity: Identity
    copies: list[str] = field(default_factory=list)
    triage: Job | None = None
    scan: Job | None = None
    earlier: bool = False
    left_at_triage: bool = False
    error: str = ""

    @property
    def job(self) -> Job | None:
        """The latest job."""
        return self.scan or self.triage

    @property
    def active(self) -> Job | None:
        """The job that has not ended."""
        job = self.job
        return job if job is not None and job.state not in FINAL_STATES else None

    @property
    def has_triage(self) -> bool:
        """Whether the cheap evidence is there."""
        return self.triage is not None and self.triage.state == "done"

    @property
    def triage_ended(self) -> bool:
        """Whether there is nothing to wait for before the whole scan, or no hope of it."""
        return bool(self.error) or (self.triage is not None and self.triage.state in FINAL_STATES)

    @property
    def is_final(self) -> bool:
        """Whether its row will not change."""
        if self.error or self.left_at_triage:
            return True
        if self.scan is not None:
            return self.scan.state in FINAL_STATES
        return self.triage_ended and not self.has_triage

    @property
    def score(self) -> float:
        """Of the best evidence so far, 0 without any."""
        for job in (self.scan, self.triage):
            if job is not None and job.backdoor_score is not None:
                return job.backdoor_score
        return 0.0

    @property
    def cheap_score(self) -> float:
        """Of the cheap evidence where there is some, so that a whole scan changes no order."""
        if self.triage is not None and self.triage.backdoor_score is not None:
            return self.triage.backdoor_score
        return self.score

    def update(self, job: Job) -> None:
        """Take over what became of a job."""
        if job.kind == "scan":
            self.scan = job
        else:
            self.triage = job

    def row(self) -> FleetRow:
        """As the ranking shows it."""
        job = self.job
        row = FleetRow(
            str(self.path),
            self.identity.sha256,
            job.state if job else "queued",
            copies=tuple(self.copies),
            earlier=self.earlier,
        )
        if job is not None:
            known = [j.file_severity for j in (self.scan, self.triage) if j and j.file_severity]
            row = dataclasses.replace(
                row, job=job.id, seconds=_seconds(job), file_severity=known[0] if known else ""
            )
        if job is not None and job.kind == "scan" and job.state == "done":
            return dataclasses.replace(
                row,
                evidence="scan",
                verdict=job.verdict,
                score=job.backdoor_score,
                labels=job.suspected_target_labels,
                report=f"reports/{job.id}.json",
                run_folder=str(job.run_folder),
            )
        if self.triage is not None and self.has_triage:
            row = dataclasses.replace(
                row,
                evidence="triage",
                score=self.triage.backdoor_score,
                labels=self.triage.suspected_target_labels,
                state="triaged" if self.left_at_triage else row.state,
            )
        if self.error:
            return dataclasses.replace(row, state="failed", verdict="error", error=self.error)
        if job is not None and job.state in ("failed", "cancelled", "interrupted"):
            row = dataclasses.replace(row, verdict="error", error=job.error or job.state)
        return row


def _seconds(job: Job) -> float | None:
    if job.started_at is None or job.finished_at is None:
        return None
    end, start = datetime.fromisoformat(job.finished_at), datetime.fromisoformat(job.started_at)
    return round((end - start).total_seconds(), 3)
