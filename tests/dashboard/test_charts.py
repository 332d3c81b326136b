"""Figures and tables as plain values."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dashboard
from dashboard import charts
from dashboard.charts.look import ACCENT
from dashboard.wording import VERDICTS
from rnp_core.report import FilterRow
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
    shares = make_report().curves.unlearn_shares
    named = _named(charts.share_curves(shares, NAMES, suspected=[TARGET], chosen=0))
    assert [trace.name for trace in named[:2]] == ["2 (no entry)", "0 (stop)"]
    assert named[0].line.color == ACCENT != named[1].line.color
    assert named[0].line.width == named[1].line.width > named[2].line.width


def test_a_label_that_only_leads_is_not_accused() -> None:
    named = _named(charts.share_curves(make_report().curves.unlearn_shares, NAMES))
    assert named[0].name == "2 (no entry)"
    assert len({trace.line.width for trace in named}) == 1
    assert len({(trace.line.color, trace.line.dash) for trace in named}) == len(named)
    assert ACCENT not in {trace.line.color for trace in named}


def _named(figure: Any) -> list[Any]:
    return [trace for trace in figure.data if trace.name]


def test_a_picked_label_does_not_look_suspected() -> None:
    (bars,) = charts.label_ratios(make_report(), 0).data
    looks = list(zip(bars.marker.color, bars.marker.pattern.shape, strict=True))
    assert looks[TARGET] == (ACCENT, "/") and looks.count((ACCENT, "/")) == 1
    assert looks[0] not in (looks[TARGET], looks[1])


@pytest.mark.parametrize("classes", [2, 43, 1000])
def test_bars_of_labels_lie_and_grow_with_the_classes(classes: int) -> None:
    names = [f"a class with a rather long name {i}" for i in range(classes)]
    rates = [0.5] * classes
    figures = (charts.class_counts([3] * classes, names), charts.flip_rates(rates, rates, names),
               charts.trigger_sizes(rates, range(classes), names))
    for figure in figures:
        assert all(trace.orientation == "h" for trace in figure.data)
        assert min(960, 14 * classes) <= figure.layout.height <= 960


def test_the_smallest_trigger_differs_by_more_than_its_colour() -> None:
    (bars,) = charts.trigger_sizes([3.0, 1.0, 2.0], [2, 0, 1], NAMES).data
    assert list(bars.marker.pattern.shape) == ["", "/", ""]
    assert list(bars.y) == [f"{label} ({NAMES[label]})" for label in (2, 0, 1)]


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
    heat, marks = figure.data
    assert np.asarray(heat.z, float).shape == (3, 24)
    assert len(marks.x) == len(table) and marks.marker.size[0] > marks.marker.size[1]


def test_few_marks_where_filters_are_many() -> None:
    base = make_report()
    masks = {"wide": [0.0] + [0.5] * 511}
    pruned = [FilterRow("wide", 0, 0.0, 1.0)]
    report = dataclasses.replace(base, pruned_filters=pruned,
                                 curves=dataclasses.replace(base.curves, filter_masks=masks))
    table = charts.filter_table(report)
    marks = charts.mask_map(report, table, 40).data[1]
    assert 5 < len(marks.x) < 20 < len(table)
    assert marks.customdata[0] == 0 and marks.customdata[-1] == 40


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
    assert all("&lt;b&gt;" in text for text in figure.data[0].y)


def test_charts_import_no_streamlit() -> None:
    code = ("import sys; import dashboard.charts, dashboard.wording, dashboard.pictures; "
            "sys.exit('streamlit' in sys.modules or 'torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
