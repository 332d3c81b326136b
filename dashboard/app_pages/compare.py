"""Two finished scans side by side."""

from __future__ import annotations

import streamlit as st

from dashboard import cache, state
from dashboard.views import frame, history
from rnp_core import RnpError

frame.render_header("Compare two scans")
engine = cache.engine()
try:
    pair = [engine.job(state.parameter(name)) for name in ("a", "b")]
except RnpError:
    pair = []
if len(pair) < 2 or any(job.state != "done" for job in pair):
    frame.render_empty(":material/compare:", "Two finished scans are needed",
                       f"Select them in the [history]({state.address('history')}).")
    st.stop()
first, second = ((job, cache.report(job.run_folder)) for job in pair)
history.render_pair(first, second)
