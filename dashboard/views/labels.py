"""Evidence by label: shares while unlearning, trigger sizes, a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import charts
from dashboard.text import label_name, label_names, number, percent, plain
from dashboard.views.parts import plotly, reading
from dashboard.wording import READING
from rnp_core import ScanReport


def render_choice(report: ScanReport, options: Mapping[str, Any]) -> None:
    """Which label to look at, the most suspicious first."""
    names = report.model.class_names
    order = [row.label for row in report.ranked_labels]
    st.selectbox("Label", order, format_func=lambda label: label_name(label, names), width=340,
                 **options)


def render_label(report: ScanReport, chosen: int) -> None:
    """All evidence on one label."""
    row = next(row for row in report.labels if row.label == chosen)
    name = plain(label_name(chosen, report.model.class_names))
    suspected = chosen in report.suspected_target_labels
    badge = (":red-badge[:material/flag: suspected target]" if suspected
             else ":gray-badge[:material/check: not suspected]")
    st.markdown(f"## {name} {badge}", anchors=False)
    grid = st.grid(6, min_column_width=150)
    grid.metric("Score", number(row.score), border=True,
                help="0 to 1, higher is more suspicious; from all the evidence on this label.")
    grid.metric("Unlearned share", percent(row.unlearned_share), border=True,
                help="Share of clean images that the unlearned model sends to this label.")
    grid.metric("Trigger ratio", number(row.norm_ratio), border=True,
                help="Size of its trigger over the median of all labels.")
    grid.metric("Margin ratio", number(row.margin_ratio), border=True,
                help="How sure of this label any image can make the model, over the median of all "
                "labels. Far above 1 is suspicious.")
    grid.metric("Anomaly index", number(row.anomaly_index, 1), border=True,
                help="Distance from the median in robust standard deviations; above 2 is unusual "
                "when the trigger is small.")
    grid.metric("Wave lead", number(row.sinusoid_lead), border=True,
                help="How much more surely a faint wave over the image leads to this label than to "
                "any other, in logits. Above 2 is suspicious.")
    if row.sources:
        sources = label_names(row.sources, report.model.class_names)
        reading(f"Its smallest trigger was searched on images of {plain(sources)} only.")
    if row.agreement:
        reading("Kinds of evidence that come about independently point at this label, which raises "
                "its score.")


def render_curves(report: ScanReport, chosen: int) -> None:
    """Shares while unlearning beside the sizes of the triggers."""
    names = report.model.class_names
    left, right = st.columns(2)
    with left, st.container(border=True, height="stretch"):
        st.markdown("**Where the answers go while the model forgets**")
        if report.curves.unlearn_shares:
            plotly(charts.share_curves(report.curves.unlearn_shares, names, chosen=chosen,
                                       suspected=report.suspected_target_labels),
                   key="shares", alt="Share of answers by label while unlearning")
            reading(READING["shares"])
        else:
            st.caption("Unlearning did not run.")
    with right, st.container(border=True, height="stretch"):
        st.markdown("**How small a trigger each label needs**")
        plotly(charts.label_ratios(report, chosen), key="ratios",
               alt="Size of each label's trigger over the median")
        reading(READING["labels"])


def render_table(report: ScanReport) -> None:
    """Everything in numbers."""
    table = charts.label_table(report)
    st.dataframe(
        table, hide_index=True, alt="Evidence by label", placeholder="–",
        height="content" if len(table) <= 16 else 600,
        column_config={
            "label": None,
            "name": st.column_config.TextColumn("label"),
            "score": st.column_config.ProgressColumn(min_value=0.0, max_value=1.0, format="%.2f"),
            "unlearned share": st.column_config.NumberColumn(format="%.1f%%"),
            "trigger ratio": st.column_config.NumberColumn(format="%.2f"),
            "trigger size": st.column_config.NumberColumn(format="%.1f"),
            "anomaly index": st.column_config.NumberColumn(format="%.1f"),
            "margin ratio": st.column_config.NumberColumn(format="%.2f"),
            "wave lead": st.column_config.NumberColumn(format="%.1f"),
        },
    )
