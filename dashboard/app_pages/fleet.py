"""Many models: ranked table, distribution of scores, progress."""

import zlib

import streamlit as st

from dashboard import cache, charts, state
from dashboard.views import fleet, frame
from rnp_core import Job

MOST = 20_000
WAITING = ("queued", "running")
ENDED_WITHOUT = ("failed", "cancelled", "interrupted")
STATES = (*WAITING, "done", *ENDED_WITHOUT)
OFTEN, SELDOM = 5.0, 30.0  # seconds between two looks, while something runs and otherwise

engine = cache.engine()
frame.render_header("Fleet", "All models, the most suspicious first.")


def is_busy() -> bool:
    return any(engine.count(state=name, kind=None) for name in WAITING)


busy = is_busy()


@st.fragment(run_every=OFTEN if busy else SELDOM)
def follow() -> None:
    if is_busy() != busy:
        st.rerun(scope="app")
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
        [job for name in ENDED_WITHOUT
         for job in engine.jobs(state=name, tag=tag or None, kind=None, limit=MOST)], ranked
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
