"""The frame of the dashboard: page configuration, navigation, sign-in. No logic."""

from __future__ import annotations

import streamlit as st

from dashboard import state
from dashboard.views import frame
from dashboard.wording import PRODUCT

st.set_page_config(page_title=PRODUCT, page_icon=frame.ICON, layout="wide")

pages = {name: st.Page(path, **frame.PAGE_OPTIONS[name]) for name, path in state.PAGES.items()}
page = st.navigation(list(pages.values()), position="top")
frame.render_brand()

if state.sign_in_configured() and not state.signed_in():
    frame.render_sign_in()
else:
    with frame.column():
        if state.signed_in():
            frame.render_account(state.reviewer())
        frame.guard(page.run)
