"""Many models, ranked by suspicion."""

from __future__ import annotations

import streamlit as st

from dashboard import cache, state
from dashboard.charts import score_histogram
from dashboard.views import frame, history
from dashboard.views.parts import plotly
from dashboard.wording import count

_MOST = 5000

engine = cache.engine()
frame.render_header(
    "Fleet", "All models of this home, the most suspicious first. `rnp fleet` fills it."
)
tag = st.text_input("Tag", state.parameter("tag"), placeholder="all", max_chars=60)
state.set_parameter("tag", tag)
jobs = engine.jobs(kind="scan", tag=tag or None, limit=_MOST)
done = [job for job in jobs if job.state == "done"]
if not jobs:
    frame.render_empty(":material/view_list:", "No models here",
                       "Scan a folder with `rnp fleet FOLDER --clean PATH --out DIR`.")
    st.stop()
if len(done) < len(jobs):
    st.progress(len(done) / len(jobs), text=f"{len(done)} of {count(len(jobs), 'model')} done")
plotly(score_histogram(done), key="scores", alt="Distribution of backdoor scores by verdict")
ranked = sorted(done, key=lambda job: -(job.backdoor_score or 0.0))
chosen = history.render_table(ranked, key="fleet", most=1)
if chosen:
    state.go("verdict", scan=chosen[0].id)
