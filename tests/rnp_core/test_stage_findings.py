"""What the stages have to say beside the verdict."""

from __future__ import annotations

import pytest
import torch

from rnp_core.report import StageRow
from rnp_core.stage_findings import failed_stage_findings, removal_findings, sample_findings
from rnp_core.stages.samples import Basis, SampleScores


def scores(flagged: int, count: int, basis: Basis = "repaired") -> SampleScores:
    flags = torch.arange(count) < flagged
    classes = torch.zeros(count, dtype=torch.int64)
    return SampleScores(classes, classes, None, flags.float(), flags, 0.5, 0.01, basis)


@pytest.mark.parametrize(
    ("found", "severity"),
    [
        (scores(10, 1000), "low"),
        (scores(40, 1000), "high"),
        (scores(40, 1000, "unlearned"), "medium"),
    ],
)
def test_more_flags_than_clean_images_explain_weigh_more(
    found: SampleScores, severity: str
) -> None:
    (finding,) = sample_findings(found)
    assert finding.severity == severity
    assert "of 1000 suspect images are flagged; about 10 would be" in finding.message


def test_no_flags_no_finding() -> None:
    assert sample_findings(scores(0, 50)) == []
    assert sample_findings(None) == []


def test_without_suspected_labels_there_is_nothing_to_remove() -> None:
    assert removal_findings((), None, StageRow("removal", "skipped", 0.0), ()) == []


def test_failed_stages_are_named_once() -> None:
    rows = [
        StageRow("unlearn", "failed", 0.0, "named by the verdict"),
        StageRow("removal", "failed", 0.0, "named by its own finding"),
        StageRow("samples", "failed", 0.0, "NaN"),
        StageRow("recover", "skipped", 0.0, "unlearning failed"),
    ]
    assert [finding.stage for finding in failed_stage_findings(rows)] == ["samples"]
