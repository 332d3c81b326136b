"""Many models: ranked table, distribution of scores, progress."""

import streamlit as st

from dashboard import cache, charts, state
from dashboard.views import fleet, frame

MOST = 20_000
STATES = ("queued", "running", "done", "failed", "cancelled", "interrupted")

engine = cache.engine()
frame.render_header("Fleet", "All models, the most suspicious first.")


@st.fragment(run_every=5.0 if engine.count(state="running") else None)
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
    failed = engine.jobs(state="failed", tag=tag or None, limit=100)
    fleet.render_numbers(ranked, counts["scan"]["failed"])
    if ranked:
        if any(job.kind == "scan" for job in ranked):
            fleet.render_distribution(ranked)
        picked = fleet.render_table(ranked)
        fleet.render_chosen(ranked[picked] if picked is not None else None)
    fleet.render_failures(failed)


follow()
