"""Many models: ranked table, distribution of scores, progress."""

import zlib

import streamlit as st

from dashboard import cache, charts, state
from dashboard.views import fleet, frame
from rnp_core import Job

MOST = 20_000
STATES = ("queued", "running", "done", "failed", "cancelled", "interrupted")

engine = cache.engine()
frame.render_header("Fleet", "All models, the most suspicious first.")


busy = any(engine.count(state=name, kind=None) for name in ("queued", "running"))


@st.fragment(run_every=5.0 if busy else None)
def follow() -> None:
    tags = cache.fleet_tags()
    tag = state.one_of("fleet", tags, "")
    if tags:
        fleet.render_choice(tags, state.linked("fleet", tag))
    counts = {
        kind: {name: engine.count(state=name, tag=tag or None, kind=kind) for name in STATES}
        for kind in ("triage", "scan")
    }
    if not any(sum(states.values()) for states in counts.values()):
        frame.render_empty(
            ":material/view_list:", "No models yet",
            "Scan a folder of checkpoints with `rnp fleet FOLDER --clean CLEAN --out OUT`.",
            page="scan", label="Start with one model",
        )
        return
    fleet.render_progress(counts)
    ranked = charts.rank(engine.jobs(state="done", tag=tag or None, kind=None, limit=MOST))
    failed = charts.undecided(
        engine.jobs(state="failed", tag=tag or None, kind=None, limit=MOST), ranked
    )
    fleet.render_numbers(ranked, len(failed))
    if ranked:
        if any(job.kind == "scan" for job in ranked):
            fleet.render_distribution(ranked)
        fleet.render_chosen(_picked(ranked, tag))
    fleet.render_failures(failed)


def _picked(ranked: list[Job], tag: str) -> Job | None:
    """The job that was picked in the table; it stays picked when others take its place."""
    ids = [job.id for job in ranked]
    kept = state.get("fleet-picked")
    row = fleet.render_table(
        ranked, ids.index(kept) if kept in ids else None,
        key=f"fleet-{tag}-{zlib.crc32(','.join(ids).encode())}",
    )
    state.put("fleet-picked", None if row is None else ids[row])
    return None if row is None else ranked[row]


follow()
