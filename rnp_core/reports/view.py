"""What the HTML and the PDF report show: rows chosen, named and bounded, with their pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass

from rnp_core.calibration import CalibrationScore, calibration_scores
from rnp_core.report import (
    AttributionRow,
    FilterRow,
    LabelRow,
    SampleRow,
    ScanReport,
    StageRow,
    TriggerRow,
)
from rnp_core.reports.command import scan_command
from rnp_core.reports.figures import Figure, figures, label_name
from rnp_core.reports.pictures import PictureBook
from rnp_core.reports.text import shown
from rnp_core.reports.wording import DEPENDS_ON_IMAGE, VerdictWords, limits_of, method_name, words
from rnp_core.run_reader import RunFolder
from rnp_core.taxonomy import RuledFinding, ruled_findings

MOST_SAMPLES = 120
MOST_FINDINGS = 60
MOST_LABELS = 50
MOST_TRIGGERS = 12
MOST_FILTERS = 200
MOST_STAGES = 40
MOST_ATTRIBUTED = 10
MOST_MAPS = 12
IN_GRID = 48
"""Suspects that are shown as pictures; the others of :data:`MOST_SAMPLES` fill a table."""
_MOST_FACTS = 12
_MOST_SETTINGS = 80
_MOST_SOURCES = 12
_LONGEST_VALUE = 300


@dataclass(frozen=True)
class TriggerView:
    """A trigger with its pictures as data URIs; None for those that cannot be shown."""

    row: TriggerRow
    name: str
    sources: list[str]
    preview: str | None
    mask: str | None
    pattern: str | None


@dataclass(frozen=True)
class SampleView:
    """A suspect with its small picture as data URI."""

    row: SampleRow
    picture: str | None


@dataclass(frozen=True)
class MapRow:
    """The maps of one method: before and after the repair."""

    method: str
    original: str | None
    repaired: str | None


@dataclass(frozen=True)
class AttributedImage:
    """One image and its attribution maps."""

    title: str
    picture: str | None
    maps: list[MapRow]


@dataclass(frozen=True)
class Chosen:
    """Rows that are shown, and how many there are in all."""

    rows: list
    total: int

    @property
    def left_out(self) -> int:
        """Rows that are not shown."""
        return self.total - len(self.rows)


@dataclass(frozen=True)
class ReportView:
    """Everything that the template reads. Texts are bounded but not escaped.

    ``low`` and ``high`` are the scores from which a model is suspicious and backdoored, ``place``
    is its own; all three lie in [0, 1]. ``known`` are the scores of models whose state is known.
    """

    report: ScanReport
    words: VerdictWords
    targets: list[str]
    failed: list[str]
    low: float
    high: float
    place: float
    known: list[CalibrationScore]
    findings: Chosen
    labels: Chosen
    triggers: Chosen
    other_triggers: Chosen
    filters: Chosen
    samples: Chosen
    flagged: int
    stages: list[StageRow]
    attributions: list[AttributedImage]
    figures: dict[str, Figure]
    limits: list[str]
    command: str | None
    environment: list[tuple[str, str]]
    settings: list[tuple[str, str]]
    in_grid: int = IN_GRID

    def label(self, number: int | None) -> str:
        """A label with its name."""
        return "–" if number is None else label_name(self.report, number)

    def evidence(self, item: RuledFinding) -> list[tuple[str, str]]:
        """The evidence of a finding as names and values."""
        facts = [(shown(name, most=40), _value(value)) for name, value in item.evidence.items()]
        return [fact for fact in facts if fact[0] not in ("atlas", "rule")][:_MOST_FACTS]


def build_view(run: RunFolder, *, most_samples: int = MOST_SAMPLES) -> ReportView:
    """Choose what to show of a run; the most suspicious rows first, within fixed numbers."""
    report = run.report
    book = PictureBook(run)
    suspicion = sorted(report.samples, key=lambda row: (not row.flagged, -row.suspicion_score))
    filters = sorted(report.pruned_filters, key=lambda row: row.mask_value)
    suspected = set(report.suspected_target_labels)
    accused = suspected | {-1}  # a trigger to any other class
    leading = [r for i, r in enumerate(report.triggers) if i == 0 or r.label in accused]
    others = [r for i, r in enumerate(report.triggers) if i > 0 and r.label not in accused]
    attributed = _attributions(report, book)
    samples = [SampleView(row, book.thumbnail(row.index)) for row in suspicion[:most_samples]]
    findings = ruled_findings(report)
    stages = report.stages[:MOST_STAGES]
    return ReportView(
        report=report,
        words=words(report),
        targets=_targets(report),
        failed=[shown(s.name, most=30) for s in stages if s.status == "failed"],
        low=_unit(report.config.get("suspicious_score"), 0.5),
        high=_unit(report.config.get("backdoored_score"), 0.8),
        place=_unit(report.backdoor_score, 0.0),
        known=calibration_scores(),
        findings=Chosen(findings[:MOST_FINDINGS], len(findings)),
        labels=_chosen(report.ranked_labels, MOST_LABELS),
        triggers=_pictured(report, leading, book),
        other_triggers=_pictured(report, others, book),
        filters=_chosen(filters, MOST_FILTERS),
        samples=Chosen(samples, len(suspicion)),
        flagged=sum(row.flagged for row in report.samples),
        stages=stages,
        attributions=attributed,
        figures=figures(report),
        limits=limits_of(report),
        command=scan_command(report),
        environment=_flat(report.environment),
        settings=_flat(report.config),
    )


def _chosen(rows: list[LabelRow] | list[FilterRow], most: int) -> Chosen:
    return Chosen(rows[:most], len(rows))


def _targets(report: ScanReport) -> list[str]:
    named = [label_name(report, label) for label in report.suspected_target_labels[:6]]
    return named + ([DEPENDS_ON_IMAGE] if report.target_depends_on_image else [])


def _pictured(report: ScanReport, rows: list[TriggerRow], book: PictureBook) -> Chosen:
    return Chosen([_trigger(report, row, book) for row in rows[:MOST_TRIGGERS]], len(rows))


def _trigger(report: ScanReport, row: TriggerRow, book: PictureBook) -> TriggerView:
    return TriggerView(
        row,
        label_name(report, row.label),
        [label_name(report, source) for source in row.sources[:_MOST_SOURCES]],
        book.file(row.preview_png, side=900),
        book.file(row.mask_png, side=160),
        book.file(row.pattern_png, side=160),
    )


def _attributions(report: ScanReport, book: PictureBook) -> list[AttributedImage]:
    """Maps by image, then by method; the maps of one method side by side."""
    by_image: dict[int, dict[str, dict[str, AttributionRow]]] = {}
    for row in report.attributions:
        by_image.setdefault(row.index, {}).setdefault(row.method, {})[row.model] = row
    names = {row.index: row.id for row in report.samples}
    found = []
    for index, methods in list(by_image.items())[:MOST_ATTRIBUTED]:
        target = next(iter(next(iter(methods.values())).values())).target
        what = (
            "A clean image with the recovered trigger"
            if index < 0
            else f"Suspect {shown(names.get(index, index), most=80)}"
        )
        maps = [
            MapRow(
                shown(method_name(method), most=80),
                _map(models.get("original"), book),
                _map(models.get("repaired"), book),
            )
            for method, models in list(methods.items())[:MOST_MAPS]
        ]
        title = f"{what}, for label {label_name(report, target)}"
        found.append(AttributedImage(title, book.thumbnail(index), maps))
    return found


def _map(row: AttributionRow | None, book: PictureBook) -> str | None:
    return book.file(row.png, side=160) if row is not None else None


def _unit(value: object, default: float) -> float:
    """A number in [0, 1]; ``default`` for anything that is none."""
    number = value if isinstance(value, (int, float)) and value == value else default
    return min(1.0, max(0.0, float(number)))


def _flat(values: dict) -> list[tuple[str, str]]:
    """Nested settings as dotted names and their values."""
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += [(f"{shown(name, most=60)}.{key}", text) for key, text in _flat(value)]
        else:
            rows.append((shown(name, most=60), _value(value)))
    return rows[:_MOST_SETTINGS]


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (dict, list)):
        return shown(json.dumps(value, ensure_ascii=False), most=_LONGEST_VALUE)
    return shown(value, most=_LONGEST_VALUE)
