"""Choose a demo model or one's own, and start a scan."""

import streamlit as st

from dashboard import cache, state
from dashboard.app_pages.own_model import show as show_own_model
from dashboard.requests import demo_request
from dashboard.views import frame, scan
from dashboard.wording import DEMO_WORDS, FIRST_DEMO, PROMISE, QUESTION
from rnp_core import find_demo, list_demos

SOURCES = {"demo": ":material/traffic: Demo models", "own": ":material/upload_file: Your own model"}

engine = cache.engine()
wanted = state.take("scan-demo")
if wanted is not None:
    demo = find_demo(wanted)
    title = DEMO_WORDS[wanted][0] if wanted in DEMO_WORDS else demo.title
    state.go("live", job=engine.submit(demo_request(demo), title=title, tags=("demo",)))

frame.render_header(QUESTION, PROMISE)
scan.render_running([*engine.jobs(state="running", limit=3), *engine.jobs(state="queued", limit=3)])
source = state.one_of("from", SOURCES, "demo")
st.segmented_control(
    "What to scan", list(SOURCES), required=True, format_func=SOURCES.__getitem__,
    label_visibility="collapsed", **state.linked("from", source),
)
if source == "demo":
    scan.render_demo_cards(list_demos(), cache.demo_pictures(), first=FIRST_DEMO,
                           on_scan=lambda name: state.put("scan-demo", name))
    st.caption("Small synthetic models on rendered traffic signs. They show how the scanner works; "
               "a scan takes about a minute.")
else:
    show_own_model()
