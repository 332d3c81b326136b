"""Values to data frames and Plotly figures. No Streamlit in here."""

from dashboard.charts.calibration import calibration_strip
from dashboard.charts.curves import (
    SHARES_HEIGHT,
    SMALL_HEIGHT,
    accuracy_curve,
    mask_histogram,
    share_curves,
    trigger_sizes,
)
from dashboard.charts.filters import filter_table, mask_map, prune_curve
from dashboard.charts.labels import (
    class_counts,
    flip_rates,
    label_ratios,
    label_scores,
    label_table,
)
from dashboard.charts.look import COLOURS, VERDICT_COLOURS
from dashboard.charts.reports import (
    conditions,
    finding_rows,
    settings_difference,
)
from dashboard.charts.samples import Triage, sample_table, suspicion_histogram, triage
from dashboard.charts.scans import job_table, rank, rank_table, score_histogram, undecided

__all__ = [
    "COLOURS",
    "SHARES_HEIGHT",
    "SMALL_HEIGHT",
    "VERDICT_COLOURS",
    "Triage",
    "accuracy_curve",
    "calibration_strip",
    "class_counts",
    "conditions",
    "filter_table",
    "finding_rows",
    "flip_rates",
    "job_table",
    "label_ratios",
    "label_scores",
    "label_table",
    "mask_histogram",
    "mask_map",
    "prune_curve",
    "rank",
    "rank_table",
    "sample_table",
    "score_histogram",
    "settings_difference",
    "share_curves",
    "suspicion_histogram",
    "triage",
    "trigger_sizes",
    "undecided",
]
