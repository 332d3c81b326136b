"""Two finished scans side by side."""

import streamlit as st

from dashboard import cache, charts, state
from dashboard.app_pages.tabs.summary import preview
from dashboard.views import compare, frame, history

engine = cache.engine()
done = engine.jobs(state="done", limit=500)
frame.render_header("Compare", "Original and repaired, two seeds, two versions.")
if len(done) < 2:
    frame.render_empty(":material/compare:", "Two finished scans are needed",
                       "", page="scan", label="Start a scan")
    st.stop()

known = {job.id: job for job in done}
for name in "ab":
    asked = state.parameter(name)
    if asked and asked not in known:
        known[asked] = engine.job(asked)
ids = list(known)
first = state.one_of("a", known, ids[min(1, len(ids) - 1)])
second = state.one_of("b", known, ids[0])
compare.render_choice(known, state.linked("a", first), state.linked("b", second))
pair = [(job, cache.report(job.run_folder)) for job in (known[first], known[second])]
history.render_numbers(pair[0][1], pair[1][1])
history.render_comparison(pair, [preview(job, report) for job, report in pair])
compare.render_evidence(*(report for _, report in pair))
first_report, second_report = (charts.conditions(report) for _, report in pair)
compare.render_settings(charts.settings_difference(first_report, second_report))
