"""What the stages have to say beside the verdict."""

from __future__ import annotations

import pytest
import torch

from rnp_core.inversion import RecoveredTrigger
from rnp_core.report import StageRow
from rnp_core.stage_findings import (
    failed_stage_findings,
    removal_findings,
    sample_findings,
    screening_findings,
    skipped_map_findings,
)
from rnp_core.stages.samples import Basis, SampleScores
from rnp_core.stages.triggers import TriggerSearch
from tests.helpers.triggers import sized_trigger


def scores(
    flagged: int,
    count: int,
    basis: Basis = "repaired",
    compared: int | None = None,
    compared_fpr: float = 0.01,
) -> SampleScores:
    flags = torch.arange(count) < flagged
    classes = torch.zeros(count, dtype=torch.int64)
    asked = count if compared is None else compared
    return SampleScores(classes, classes, None, flags.float(), flags, 0.5, 0.01, asked,
                        compared_fpr, basis, torch.zeros(1))


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


def test_flags_are_held_against_the_images_that_can_be_flagged() -> None:
    (harmless,) = sample_findings(scores(40, 1000, compared=400, compared_fpr=0.1))
    assert harmless.severity == "low"  # a tenth of the clean images with the label may be flagged
    assert "about 40 would be" in harmless.message
    (odd,) = sample_findings(scores(20, 1000, compared=40, compared_fpr=0.1))
    assert odd.severity == "high" and "about 4 would be" in odd.message


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


def _triggers(labels: range) -> tuple[RecoveredTrigger, ...]:
    return tuple(sized_trigger(k, 9.0) for k in labels)


def test_labels_with_less_than_the_whole_search_are_counted() -> None:
    search = TriggerSearch({"patch": _triggers(range(20))}, _triggers(range(20, 64)))
    screened, missing = screening_findings(search, 100)
    assert screened.message.startswith("44 of 100 labels")
    assert (screened.severity, missing.severity) == ("info", "medium")
    assert "For 36 of 100 labels no trigger" in missing.message
    assert screening_findings(TriggerSearch({"patch": _triggers(range(4))}), 4) == []
    later = TriggerSearch({"patch": _triggers(range(20)), "warp": _triggers(range(18, 24))},
                          _triggers(range(20, 32)))  # four of them got a warp in a later round
    (screened,) = screening_findings(later, 32)
    assert screened.message.startswith("8 of 32 labels")
    assert screening_findings(None, 4) == []


def test_a_map_that_was_left_out_is_named_with_its_reason() -> None:
    (finding,) = skipped_map_findings({"gradcam of the original model": "no spatial layer"})
    assert finding.severity == "info"
    assert finding.message == "No attribution by gradcam of the original model: no spatial layer."
