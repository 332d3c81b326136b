"""The report of a scan: plain values only, enough to redraw every page with no model in memory.

Field names are those of ``report.json``. Scripts outside the project read them: add freely, and
raise ``SCHEMA_VERSION`` when a meaning changes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rnp_core.errors import ReportError
from rnp_core.plain_values import from_plain, to_plain

SCHEMA_VERSION = 1

Verdict = Literal["backdoored", "suspicious", "no_evidence", "inconclusive", "error"]
Severity = Literal["info", "low", "medium", "high", "critical"]


@dataclass(frozen=True)
class Finding:
    """One thing that the scan found, with the evidence for it.

    ``rule`` is an id of :mod:`rnp_core.taxonomy`.
    """

    severity: Severity
    stage: str
    message: str
    evidence: dict[str, Any] = field(default_factory=dict)
    rule: str = ""


@dataclass(frozen=True)
class NormalizationFacts:
    """Channel mean and std that the model was run with, and where they come from."""

    mean: list[float]
    std: list[float]
    source: str


@dataclass(frozen=True)
class ModelFacts:
    """What was scanned. File fields are None for a model that was handed over in memory."""

    path: str | None
    file_name: str | None
    sha256: str | None
    size_bytes: int | None
    format: str | None
    architecture: str
    num_classes: int
    class_names: list[str]
    input_shape: list[int]
    normalization: NormalizationFacts
    findings: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class CleanFacts:
    """The clean images: how many, their hash, and the count of each class."""

    count: int
    sha256: str
    per_class: list[int]


@dataclass(frozen=True)
class SuspectFacts:
    """The suspect images: how many, and their hash."""

    count: int
    sha256: str


@dataclass(frozen=True)
class DataFacts:
    """The images that the scan used."""

    clean: CleanFacts
    suspects: SuspectFacts | None = None


@dataclass(frozen=True)
class LabelRow:
    """Evidence for one label; see ``rnp_core.stages.target_label.LabelEvidence``."""

    label: int
    name: str
    unlearned_share: float
    trigger_norm: float | None
    norm_ratio: float | None
    anomaly_index: float | None
    score: float
    size_outlier: float
    kind: str
    margin_ratio: float | None = None
    margin_outlier: float | None = None
    agreement: float = 0.0
    sinusoid_lead: float | None = None
    sources: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class TriggerRow:
    """One recovered trigger and the pictures of it, as paths relative to the report.

    The label -1 stands for any other class. Flip rates are shares of held-out clean images of other
    classes, or of ``sources`` for a trigger that is for these classes only; the lists have an entry
    for every class, None where there is no image. ``field_png`` is how a warp moves pixels, see
    :func:`rnp_core.pictures.field_image`; empty for other kinds and in early reports.
    """

    label: int
    kind: str
    norm: float
    flip_rate: float
    flip_rate_repaired: float
    mask_png: str
    pattern_png: str
    preview_png: str
    flip_rate_per_class: list[float | None] = field(default_factory=list)
    flip_rate_per_class_repaired: list[float | None] = field(default_factory=list)
    field_png: str = ""
    sources: list[int] = field(default_factory=list)

    def is_for(self, label: int) -> bool:
        """Whether it is meant for images of the class ``label``."""
        return label in self.sources if self.sources else label != self.label


@dataclass(frozen=True)
class UniversalRow:
    """What a trigger that leads images of every class to any other one says.

    ``norm_ratio`` is its size over that of the smallest trigger to a single label. Where it accuses
    the model, its :class:`TriggerRow` has the label -1.
    """

    norm_ratio: float
    score: float


@dataclass(frozen=True)
class FilterRow:
    """One pruned filter."""

    layer: str
    index: int
    mask_value: float
    score: float


@dataclass(frozen=True)
class AccuracyFacts:
    """Accuracy and flip rate before and after, on clean images kept out of every fit.

    Intervals are 95 % Wilson intervals; ``count`` is the number of images.
    """

    clean_before: float
    clean_after: float
    interval_before: list[float]
    interval_after: list[float]
    count: int
    flip_rate_before: float | None
    flip_rate_after: float | None


@dataclass(frozen=True)
class SampleRow:
    """Triage of one suspect image, in input order; None where a model was not asked about it."""

    index: int
    id: str
    predicted: int
    predicted_repaired: int | None
    suspicion_score: float
    flagged: bool
    predicted_unlearned: int | None = None

    @property
    def changed_by_repair(self) -> bool:
        """Whether the repaired model is known to give another answer."""
        return self.predicted_repaired not in (None, self.predicted)


@dataclass(frozen=True)
class AttributionRow:
    """One attribution picture.

    ``index`` is the suspect's index, or -1 for a clean image with the recovered trigger on it;
    ``model`` is "original" or "repaired".
    """

    index: int
    method: str
    target: int
    model: str
    png: str


@dataclass(frozen=True)
class StageRow:
    """How one stage ended: ``status`` is "done", "skipped" or "failed"."""

    name: str
    status: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True)
class Curves:
    """Numbers behind the live curves and the mask picture.

    ``unlearn_shares`` has a row of class shares for every unlearning step. ``filter_masks`` maps a
    layer to its mask values. ``prune_candidates`` holds [filters, mask value, accuracy, flip rate].
    """

    unlearn_accuracy: list[float] = field(default_factory=list)
    unlearn_shares: list[list[float]] = field(default_factory=list)
    recover_accuracy: list[float] = field(default_factory=list)
    filter_masks: dict[str, list[float]] = field(default_factory=dict)
    prune_candidates: list[list[float | None]] = field(default_factory=list)


@dataclass(frozen=True)
class ScanReport:
    """Everything that a scan of one model found, as ``report.json`` holds it.

    ``sample_clean_scores`` are the suspicion scores of the held-out clean images that
    ``sample_threshold`` rests on, so that the false-positive rate of another threshold is known.
    """

    tool_version: str
    created_at: str
    seed: int
    config: dict[str, Any]
    environment: dict[str, Any]
    model: ModelFacts
    data: DataFacts
    verdict: Verdict
    backdoor_score: float
    verdict_reason: str
    findings: list[Finding]
    suspected_target_labels: list[int]
    labels: list[LabelRow]
    triggers: list[TriggerRow]
    pruned_filters: list[FilterRow]
    accuracy: AccuracyFacts
    samples: list[SampleRow]
    sample_threshold: float | None
    attributions: list[AttributionRow]
    stages: list[StageRow]
    curves: Curves
    files: dict[str, str]
    request: dict[str, Any] | None = None
    sample_clean_scores: list[float] = field(default_factory=list)
    universal: UniversalRow | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def ranked_labels(self) -> list[LabelRow]:
        """The rows of the labels, the most suspicious first."""
        return sorted(self.labels, key=lambda row: (-row.score, row.label))

    @property
    def target_depends_on_image(self) -> bool:
        """Whether a trigger to any other class accuses the model, as in an all-to-all backdoor."""
        return any(row.label < 0 for row in self.triggers)

    @property
    def accuses(self) -> bool:
        """Whether the scan names a backdoor, by a target label or by one for each image."""
        return bool(self.suspected_target_labels) or self.target_depends_on_image

    @property
    def was_tuned(self) -> bool:
        """Whether the repaired model was fine-tuned, after pruning or in place of it."""
        return any(finding.rule == "RNP004" for finding in self.findings)

    @property
    def was_repaired(self) -> bool:
        """Whether the repaired model differs from the original."""
        return bool(self.pruned_filters) or self.was_tuned

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; NaN and infinity become None."""
        return to_plain(dataclasses.asdict(self))

    def to_json(self) -> str:
        """The text of ``report.json``."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ScanReport:
        """The report that :meth:`to_dict` wrote.

        Raises:
            ReportError: when the schema is newer, or a field is missing or of the wrong form.
        """
        version = data.get("schema_version") if isinstance(data, Mapping) else None
        if version != SCHEMA_VERSION:
            raise ReportError(f"expected a report of schema {SCHEMA_VERSION}, got {version!r}")
        return from_plain(cls, data, "report")
