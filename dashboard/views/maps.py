"""Attribution maps of one method side by side: original, repaired, and what differs."""

from __future__ import annotations

import streamlit as st

from dashboard.components.slider import compare_slider
from dashboard.maps import Maps
from dashboard.pictures import difference, png
from dashboard.views.parts import reading
from dashboard.wording import METHODS, READING
from rnp_core import open_picture


def render_maps(maps: Maps, *, key: str) -> None:
    """The maps of a method that the reader chooses."""
    methods = [method for method in METHODS if (method, "original") in maps]
    if not methods:
        st.caption("No method could be applied to this network.")
        return
    st.markdown("**Which pixels decided**")
    method = str(st.segmented_control(
        "Method", methods, default=methods[0], required=True, format_func=METHODS.__getitem__,
        key=f"{key}-method", label_visibility="collapsed",
    ))
    original, repaired = maps[(method, "original")], maps.get((method, "repaired"))
    with st.grid(4, min_column_width=150):
        st.image(original, width="stretch", caption="original model", alt="Map of the original")
        if repaired is not None:
            st.image(repaired, width="stretch", caption="repaired model",
                     alt="Map of the repaired model")
            change = difference(open_picture(original), open_picture(repaired), amplify=1.0)
            st.image(png(change), width="stretch", caption="difference; grey is unchanged",
                     alt="Difference of the two maps")
            compare_slider(original, repaired, key=f"{key}-slider", names=("original", "repaired"),
                           name="Map of the original and of the repaired model")
    reading(READING["attributions" if repaired is not None else "attributions-original"])
