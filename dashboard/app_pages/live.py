"""Live scan of the job in the address."""

import streamlit as st

from dashboard import cache, state
from dashboard.requests import class_names
from dashboard.views import frame, live
from rnp_core import FINAL_STATES, RnpError

engine = cache.engine()
job_id = state.parameter("job")
if not job_id:
    waiting = [*engine.jobs(state="running", limit=1), *engine.jobs(state="queued", limit=1)]
    if waiting:
        state.go("live", job=waiting[0].id)
    frame.render_empty(":material/monitoring:", "Nothing is running",
                       "", page="scan", label="Start a scan")
    st.stop()

try:
    job = engine.job(job_id)
except RnpError:
    frame.render_no_such_scan()
    st.stop()
if job.state == "done":
    if state.get("watching") == job_id:
        state.forget("watching")
        state.go("verdict", scan=job_id)
    live.render_title(job)
    st.success("The scan is done.", icon=":material/check_circle:")
    if st.button("See the verdict", type="primary", icon=":material/shield:"):
        state.go("verdict", scan=job_id)
    st.stop()

live.render_title(job)
if job.state in FINAL_STATES:
    live.render_ended(job, on_resume=frame.told(lambda: engine.resume(job_id)))
    live.render_work(job, state.events(engine, job_id), class_names(job.request))
    st.stop()

state.put("watching", job_id)
names = class_names(job.request)


@frame.told
def cancel() -> None:
    engine.cancel(job_id)
    st.toast("Cancelling …", icon=":material/cancel:")


@st.fragment(run_every=1.0)
def follow() -> None:
    try:
        now = engine.job(job_id)
    except RnpError:  # it was deleted elsewhere; the page says so
        st.rerun(scope="app")
    if now.state in FINAL_STATES:
        st.rerun(scope="app")
    rows = state.events(engine, job_id)
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container():
            live.render_progress(now, engine.position(job_id), rows)
        st.button("Cancel", icon=":material/cancel:", key="cancel",
                  on_click=cancel)  # a callback, which the next tick of the clock cannot cut off
    if engine.problem:
        st.warning(engine.problem, icon=":material/warning:")
    live.render_work(now, rows, names)


follow()
st.caption("You can close this page; the scan goes on. Its address brings you back.")
