"""All scans: filter, open, compare, delete."""

from __future__ import annotations

import streamlit as st

from dashboard import cache, state
from dashboard.views import frame, history
from dashboard.wording import STATE_WORDS, VERDICT_SHORT, count

_MOST = 500

engine = cache.engine()
frame.render_header("History", "Select one scan to open it, or two to compare them.")
with st.container(horizontal=True, vertical_alignment="bottom"):
    text = st.text_input("Search", state.parameter("q"), placeholder="name, file or hash",
                         max_chars=80)
    verdict = st.selectbox("Verdict", [*VERDICT_SHORT], index=None,
                           format_func=lambda name: VERDICT_SHORT[name])
    job_state = st.selectbox("State", list(STATE_WORDS), index=None,
                             format_func=lambda name: STATE_WORDS[name][0])
state.set_parameter("q", text)
jobs = engine.jobs(kind="scan", state=job_state, verdict=verdict, text=text, limit=_MOST)
if not jobs:
    frame.render_empty(":material/history:", "No scans here",
                       f"Change the filters, or start with [a scan]({state.address('scan')}).")
    st.stop()
chosen = history.render_table(jobs, key="history", most=2)
with st.container(horizontal=True, vertical_alignment="center"):
    st.caption(count(len(jobs), "scan"))
    if len(chosen) == 1:
        job = chosen[0]
        if st.button("Open", type="primary", icon=":material/open_in_new:"):
            page, name = ("verdict", "scan") if job.state == "done" else ("live", "job")
            state.go(page, **{name: job.id})
        with st.popover("Delete", icon=":material/delete:"):
            st.write("The scan and its files will be gone for good.")
            if st.button("Delete it", type="primary"):
                engine.delete(job.id)
                st.rerun()
    if len(chosen) == 2 and st.button("Compare", type="primary", icon=":material/compare:"):
        state.go("compare", a=chosen[0].id, b=chosen[1].id)
