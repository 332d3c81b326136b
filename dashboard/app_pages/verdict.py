"""A finished scan: the tab in the address."""

import streamlit as st

from dashboard import cache, state
from dashboard.app_pages.tabs import labels, neurons, plain, reproduce, samples, summary, triggers
from dashboard.views import frame, verdict
from dashboard.wording import TABS
from rnp_core import RnpError

SHOW = {
    "summary": summary.show,
    "neurons": neurons.show,
    "labels": labels.show,
    "triggers": triggers.show,
    "samples": samples.show,
    "reproduce": reproduce.show,
    "plain": plain.show,
}

engine = cache.engine()
scan_id = state.parameter("scan")
if not scan_id:
    newest = engine.jobs(state="done", limit=1)
    if newest:
        state.go("verdict", scan=newest[0].id)
    frame.render_empty(":material/shield:", "No finished scan yet",
                       "", page="scan", label="Start a scan")
    st.stop()

try:
    job = engine.job(scan_id)
except RnpError:
    frame.render_no_such_scan()
    st.stop()
if job.state != "done":
    state.go("live", job=scan_id)

run = cache.run(job.run_folder)
tab = state.one_of("tab", TABS, "summary")
with st.container(key="tabs"):
    verdict.render_name(job)
    st.segmented_control(
        "Part of the result", list(TABS), required=True, label_visibility="collapsed",
        width="stretch", format_func=lambda name: f"{TABS[name][0]} {TABS[name][1]}",
        **state.linked("tab", tab),
    )
SHOW[tab](job, run)
