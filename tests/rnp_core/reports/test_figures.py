"""Figures: what they hold, and that both drawings of them are well formed."""

from __future__ import annotations

import dataclasses
import json
from xml.etree import ElementTree

import pytest

from rnp_core.report import LabelRow, ScanReport
from rnp_core.reports.charts import specification
from rnp_core.reports.figures import MOST_FILTERS, Figure, Series, figures
from rnp_core.reports.svg import WIDTH, draw
from tests.helpers.hostile_report import failed_report, hostile_report, with_suspects
from tests.helpers.reports import example_report


def full_report() -> ScanReport:
    """A report with values for every figure."""
    report = with_suspects(9)
    trigger = dataclasses.replace(
        report.triggers[0],
        flip_rate_per_class=[0.9, None],
        flip_rate_per_class_repaired=[0.1, None],
    )
    curves = dataclasses.replace(
        report.curves, prune_candidates=[[0, 0.0, 0.9, 0.8], [4, 0.1, 0.88, 0.02]]
    )
    return dataclasses.replace(report, triggers=[trigger], curves=curves)


def test_every_figure_appears_when_there_are_values() -> None:
    assert list(figures(full_report())) == [
        "trigger-sizes", "unlearning", "filter-masks", "pruning", "flips", "suspicion",
    ]


def test_a_failed_scan_has_no_figures() -> None:
    assert figures(failed_report()) == {}


def test_suspected_labels_stand_out() -> None:
    report = example_report()
    rows = [LabelRow(i, str(i), 0.1, 4.0, 1.0 + i, 0.0, 0.5 - i / 10, 0.0, "") for i in (0, 2)]
    report = dataclasses.replace(report, labels=[*report.labels, *rows])
    suspected, others = figures(report)["trigger-sizes"].series
    assert (suspected.name, suspected.tone) == ("suspected", "accent")
    assert suspected.y == (0.2, None, None)
    assert others.y == (None, 1.0, 3.0)


def test_many_filters_are_thinned_from_the_top() -> None:
    report = example_report()
    masks = {"conv1": [0.0] * 4, "deep": [1.0] * 20_000}
    report = dataclasses.replace(
        report, curves=dataclasses.replace(report.curves, filter_masks=masks)
    )
    figure = figures(report)["filter-masks"]
    assert sum(len(series.x) for series in figure.series) == MOST_FILTERS
    assert [series.name for series in figure.series] == ["kept", "pruned"]
    assert figure.series[0].y.count(0.0) == 3
    assert "18,804 highest are left out" in figure.reading


def test_the_suspects_are_shown_beside_the_clean_images_of_the_threshold() -> None:
    report = with_suspects(9)
    assert "held-out clean images." in figures(report)["suspicion"].reading
    report = dataclasses.replace(report, sample_threshold=0.5, sample_clean_scores=[0.1, 0.5, 0.6])
    reading = figures(report)["suspicion"].reading
    assert "held-out clean images (1 of 3 lie above it too)." in reading


def test_drawings_leave_names_from_right_to_left_to_the_tables() -> None:
    drawing = str(draw(figures(hostile_report())["trigger-sizes"]))
    assert "شارة" not in drawing
    assert ">3</text>" in drawing


def test_a_legend_takes_the_rows_that_it_needs() -> None:
    names = [f"a name of some length {i}" for i in range(5)]
    series = tuple(Series(name, (0.0, 1.0), (0.0, 1.0), "calm") for name in names)
    figure = Figure("many", "Many", "Names.", "lines", "x", "y", series)
    texts = [e for e in ElementTree.fromstring(str(draw(figure))) if "name" in str(e.text)]
    assert [e.text for e in texts] == names
    assert len({e.attrib["y"] for e in texts}) == 2
    assert max(float(e.attrib["x"]) for e in texts) < 0.75 * WIDTH


@pytest.mark.parametrize("report", [full_report(), hostile_report()], ids=["full", "hostile"])
def test_drawings_are_well_formed(report: ScanReport) -> None:
    for figure in figures(report).values():
        text = str(draw(figure))
        root = ElementTree.fromstring(text)
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"] == figure.title
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert tags <= {"svg", "text", "line", "rect", "path", "circle"}
        chart = specification(figure)
        json.dumps(chart, allow_nan=False)
        assert len(chart["data"]) == len(figure.series)
        assert "<" not in json.dumps(chart)
