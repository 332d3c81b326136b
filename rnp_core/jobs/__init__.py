"""Scans as jobs: a queue, a history and their scheduler. Nothing here imports torch or Streamlit.

The record is a SQLite table (:mod:`.store`) and a run folder a job; :mod:`.engine` is the way in.
"""

from rnp_core.jobs.engine import JobEngine
from rnp_core.jobs.history import History
from rnp_core.jobs.home import default_home
from rnp_core.jobs.job_filter import JobFilter
from rnp_core.jobs.types import (
    DISPOSITIONS,
    FINAL_STATES,
    JOB_STATES,
    Disposition,
    EngineLimits,
    Job,
    JobEvent,
    JobState,
)

__all__ = [
    "DISPOSITIONS",
    "FINAL_STATES",
    "JOB_STATES",
    "Disposition",
    "EngineLimits",
    "History",
    "Job",
    "JobEngine",
    "JobEvent",
    "JobFilter",
    "JobState",
    "default_home",
]
