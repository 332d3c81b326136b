"""Figures and tables as plain values."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dashboard
from dashboard import charts
from dashboard.wording import VERDICTS
from tests.dashboard.folders import NAMES, TARGET, clean_report, failed_report, make_report

CONFIG = Path(dashboard.__file__).parent / ".streamlit" / "config.toml"


def theme() -> dict:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    return tomllib.loads(CONFIG.read_text(encoding="utf-8"))


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours, WCAG 2.2."""
    def light(colour: str) -> float:
        parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    low, high = sorted((light(first), light(second)))
    return (high + 0.05) / (low + 0.05)


def test_charts_and_theme_share_their_colours() -> None:
    assert list(charts.COLOURS) == theme()["theme"]["chartCategoricalColors"]
    assert set(charts.VERDICT_COLOURS) == set(VERDICTS)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("colour", [*charts.COLOURS, *charts.VERDICT_COLOURS.values()])
def test_colours_show_on_both_backgrounds(mode: str, colour: str) -> None:
    assert contrast(colour, theme()["theme"][mode]["backgroundColor"]) >= 3.0


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_colours_can_be_read(mode: str) -> None:
    colours = theme()["theme"][mode]
    background = colours["backgroundColor"]
    for name in ("textColor", "linkColor"):
        assert contrast(colours[name], background) >= 4.5
    for name in ("red", "orange", "green", "blue", "violet", "gray"):
        assert contrast(colours[f"{name}TextColor"], background) >= 4.5
        assert contrast(colours[f"{name}TextColor"], colours[f"{name}BackgroundColor"]) >= 4.5


def test_the_suspected_label_leads_the_curves() -> None:
    figure = charts.share_curves(make_report().curves.unlearn_shares, NAMES, chosen=[TARGET])
    named = [trace for trace in figure.data if trace.name]
    assert named[0].name == "2 (no entry)"
    assert named[0].line.width > named[1].line.width


@pytest.mark.parametrize("report", [make_report(), clean_report(), failed_report()])
def test_every_figure_takes_every_report(report: object) -> None:
    assert isinstance(report, type(make_report()))
    charts.share_curves(report.curves.unlearn_shares, NAMES)
    charts.accuracy_curve(report.curves.unlearn_accuracy)
    charts.label_ratios(report, None)
    charts.suspicion_histogram(charts.triage(report, None))
    charts.class_counts(report.data.clean.per_class, NAMES)
    assert len(charts.label_table(report)) == len(report.labels)
    assert len(charts.sample_table(report, charts.triage(report, None))) == len(report.samples)
    assert len(charts.finding_rows(report)) == len(report.findings)


def test_pruned_filters_come_first_and_are_marked() -> None:
    report = make_report()
    table = charts.filter_table(report)
    assert (table.iloc[0]["layer"], table.iloc[0]["filter"]) == ("layer3.bn", 5)
    assert table["outcome"].tolist() == ["pruned"] + ["kept"] * (len(table) - 1)
    assert table["mask value"].iloc[1:].is_monotonic_increasing
    figure = charts.mask_map(report, table, 0)
    heat, rings = figure.data
    assert np.asarray(heat.z, float).shape == (3, 24)
    assert len(rings.x) == len(table) and rings.marker.size[0] > rings.marker.size[1]


def test_the_map_keeps_ragged_layers_empty() -> None:
    heat = charts.mask_map(make_report(), charts.filter_table(make_report()), None).data[0]
    grid = np.asarray(heat.z, float)
    assert np.isnan(grid[0, 16:]).all() and not np.isnan(grid[2]).any()


def test_the_strip_shows_score_thresholds_and_known_models() -> None:
    known = [(0.02, "clean", "a"), (0.99, "backdoored", "b<script>")]
    figure = charts.calibration_strip(0.6, suspicious=0.5, backdoored=0.8, known=known)
    assert list(figure.layout.xaxis.tickvals) == [0, 0.5, 0.8, 1]
    assert any(list(trace.x) == [0.6] for trace in figure.data)
    texts = [text for trace in figure.data for text in (trace.text or ())]
    assert "b&lt;script&gt;" in texts and not any("<script" in text for text in texts)


def test_samples_are_sorted_by_suspicion() -> None:
    report = make_report()
    table = charts.sample_table(report, charts.triage(report, None))
    assert table["suspicion score"].is_monotonic_decreasing
    assert table["index"].iloc[0] == 0


def test_a_threshold_flags_suspects_and_counts_false_positives() -> None:
    report = dataclasses.replace(make_report(), sample_clean_scores=[0.0, 0.005, 0.2, 0.95])
    own = charts.triage(report, None)
    assert own.is_own and own.flagged == 10 and own.false_positives == 1
    lower = charts.triage(report, 0.005)
    assert (lower.flagged, lower.false_positives) == (40, 2)
    highest = charts.triage(report, 1.0)
    assert (highest.flagged, highest.false_positives) == (0, 0)
    figure = charts.suspicion_histogram(lower)
    assert sum(sum(trace.y) for trace in figure.data if trace.type == "bar") == 40
    (rug,) = [trace for trace in figure.data if trace.type == "scatter"]
    assert list(rug.x) == [0.0, 0.005, 0.2, 0.95]
    assert len(set(rug.marker.line.color)) == 2


def test_differing_settings_are_listed_and_equal_ones_are_not() -> None:
    table = charts.settings_difference({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}, "d": 4})
    assert table["setting"].tolist() == ["b.c", "d"]


def test_class_names_are_no_markup_in_charts() -> None:
    base = make_report()
    names = ["<b>x</b>"] * len(NAMES)
    report = dataclasses.replace(base, model=dataclasses.replace(base.model, class_names=names))
    figure = charts.label_ratios(report, None)
    assert all("<b>" not in str(text) for text in figure.data[0].x)


def test_charts_import_no_streamlit() -> None:
    code = ("import sys; import dashboard.charts, dashboard.wording, dashboard.pictures; "
            "sys.exit('streamlit' in sys.modules or 'torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
