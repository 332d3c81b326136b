"""What is left of engines that died."""

from __future__ import annotations

from rnp_core.jobs.owners import describe, estate
from rnp_core.jobs.records import settle_lost
from rnp_core.jobs.store import JobStore


def reap(store: JobStore) -> None:
    """Jobs whose owner died become interrupted, or done where the result was already whole."""
    for owner in store.owners():
        with estate(store, owner) as job_ids:
            for job_id in job_ids or ():
                who = describe(store, owner)
                settle_lost(store, job_id, owner=owner, error=f"{who}, which ran it, ended")
