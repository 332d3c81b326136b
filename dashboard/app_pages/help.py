"""The method, a glossary, the limits."""

from __future__ import annotations

import streamlit as st

from dashboard.views import frame
from dashboard.wording import GLOSSARY, LIMITS, STAGES

frame.render_header("Help", "How a scan works, what its words mean, and what it cannot see.")
st.subheader("How a scan works", anchor="method")
for place, (_, name, meaning) in enumerate(STAGES, start=1):
    with st.container(border=True):
        st.markdown(f"**{place}. {name}**  \n{meaning}")
st.subheader("Words", anchor="words")
for word, meaning in GLOSSARY:
    st.markdown(f"**{word}**: {meaning}")
st.subheader("Limits", anchor="limits")
for limit in LIMITS:
    st.markdown(f"- {limit}")
