"""What the job engine gives out: plain frozen values, readable in every process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rnp_core.errors import ConfigError
from rnp_core.isolation.limits import LEAST_MEMORY
from rnp_core.report import Verdict
from rnp_core.request import ScanRequest

JobState = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
JOB_STATES: tuple[JobState, ...] = (
    "queued", "running", "done", "failed", "cancelled", "interrupted",
)
FINAL_STATES: tuple[JobState, ...] = ("done", "failed", "cancelled", "interrupted")
"""States that a job leaves by :meth:`JobEngine.resume` only, and ``done`` never."""

JobKind = Literal["scan", "triage"]
"""A whole scan, or the cheap evidence that a fleet is ranked by first."""

DispositionName = Literal["confirmed", "false_alarm", "escalate"]
DISPOSITIONS: tuple[DispositionName, ...] = ("confirmed", "false_alarm", "escalate")

GIB = 1 << 30


@dataclass(frozen=True)
class Disposition:
    """What a reviewer decided about a finished scan."""

    disposition: DispositionName
    reviewer: str
    note: str
    time: str  # ISO 8601, UTC


@dataclass(frozen=True)
class JobEvent:
    """One progress report of a running job, as it was stored.

    Attributes:
        seq: counts up from 1 within the job; pass the last one as ``after`` to get what is new.
        time: seconds since 1970.
        stage, step, total, message, values: see :class:`rnp_core.progress.Progress`. The stage
            ``"job"`` holds changes of state, with the new state as the message.
    """

    seq: int
    time: float
    stage: str
    step: int
    total: int
    message: str = ""
    values: Mapping[str, float | list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A scan as the history shows it. Times are ISO 8601 in UTC.

    Attributes:
        id: opaque, safe as a file name and in an address.
        kind: "scan" or "triage".
        state: see :data:`JobState`.
        stage: stage that runs or ran last; empty before the first.
        fraction: estimate of the finished share, 0 to 1.
        request: what was asked for; ``request.out`` equals ``run_folder``.
        run_folder: holds the report once the state is "done".
        error: why it failed, was cancelled or was interrupted, to be shown as it is.
        checkpoint_sha256: digest of the weight file when the job was submitted.
        checkpoint_name: file or folder name; untrusted text.
        settings_key: digest of everything besides the checkpoint that decides the result.
        verdict, backdoor_score, suspected_target_labels: from the report, once done. A triage has
            a score and no verdict.
        file_severity: of the worst finding about the checkpoint file itself, "info" to "critical";
            empty before the job is done, without a finding, and in tables of version 1.
        attempts: how often it was started.
        priority: larger runs earlier.
        disposition: the latest one.
    """

    id: str
    title: str
    kind: JobKind
    state: JobState
    stage: str
    fraction: float
    request: ScanRequest
    run_folder: Path
    error: str
    created_at: str
    started_at: str | None
    finished_at: str | None
    checkpoint_sha256: str
    checkpoint_name: str
    settings_key: str
    verdict: Verdict | None
    backdoor_score: float | None
    suspected_target_labels: tuple[int, ...]
    file_severity: str
    attempts: int
    priority: float
    tags: tuple[str, ...]
    disposition: Disposition | None


@dataclass(frozen=True)
class EngineLimits:
    """Bounds on one home of jobs and on each job in it.

    Attributes:
        queue_length: jobs that may wait.
        disk_bytes: size of the home from which work files of ended jobs are removed, oldest first;
            reports are never removed, and where that does not help, new jobs are refused.
        free_bytes: space that must be left on the disk for a new job.
        job_memory_bytes: private memory of one job; None takes 80 % of the machine's memory, shared
            between the jobs that run at once.
        job_seconds: wall-clock time of one job.
        threads: CPU threads of one job; None shares the cores between the jobs that run at once.
    """

    queue_length: int = 10_000
    disk_bytes: int = 100 * GIB
    free_bytes: int = GIB // 4
    job_memory_bytes: int | None = None
    job_seconds: float = 6 * 3600.0
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("queue_length", "disk_bytes", "free_bytes", "job_seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"expected {name} above 0, got {getattr(self, name)}")
        if self.job_memory_bytes is not None and self.job_memory_bytes < LEAST_MEMORY:
            raise ConfigError(
                f"expected a memory limit of at least {LEAST_MEMORY / GIB:g} GiB, "
                f"got {self.job_memory_bytes / GIB:g}"
            )
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"expected threads of at least 1, got {self.threads}")


DEFAULT_LIMITS = EngineLimits()
