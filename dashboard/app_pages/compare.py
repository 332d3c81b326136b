"""Two finished scans side by side."""

import streamlit as st

from dashboard import cache, charts, state
from dashboard.app_pages.tabs.summary import preview
from dashboard.views import compare, frame
from rnp_core import JobError

MOST = 500

engine = cache.engine()
frame.render_header("Compare", "Original and repaired, two seeds, two versions.")
known = {job.id: job for job in engine.jobs(state="done", limit=MOST)}
for name in "ab":
    asked = state.parameter(name)
    if asked and asked not in known:
        try:
            job = engine.job(asked)
        except JobError:
            st.warning("There is no such scan; another one is shown.",
                       icon=":material/search_off:")
            continue
        if job.state == "done":
            known[asked] = job
        else:
            compare.render_unfinished(job)
if len(known) < 2:
    frame.render_empty(":material/compare:", "Two finished scans are needed",
                       "", page="scan", label="Start a scan")
    st.stop()

ids = list(known)
second = state.one_of("b", known, ids[1] if state.parameter("a") == ids[0] else ids[0])
first = state.one_of("a", known, next(job for job in ids if job != second))
compare.render_choice(known, state.linked("a", first), state.linked("b", second))
jobs = (known[first], known[second])
runs = [cache.run(job.run_folder) for job in jobs]
reports = (runs[0].report, runs[1].report)
compare.render_numbers(*reports)
compare.render_comparison(list(zip(jobs, reports, strict=True)), [preview(run) for run in runs])
compare.render_evidence(*reports)
compare.render_settings(charts.settings_difference(*map(charts.conditions, reports)))
