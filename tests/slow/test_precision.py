"""Whether the fast path finds what plain float32 finds, on the demo models.

``python -m pytest -m slow tests/slow/test_precision.py -s`` prints both side by side.
"""

from __future__ import annotations

import dataclasses

import pytest

from rnp_core.config import preset_config
from rnp_core.demo import list_demos
from rnp_core.pipeline import scan
from rnp_core.report import ScanReport
from rnp_core.subject import load_subject

pytestmark = pytest.mark.slow


def scanned(name: str, precision: str) -> ScanReport:
    demo = next(demo for demo in list_demos() if demo.name == name)
    subject = load_subject(demo.checkpoint, demo.clean)
    config = dataclasses.replace(preset_config("standard"), precision=precision)
    return scan(subject.model, subject.clean.images, config=config).report


def pruned(report: ScanReport) -> set[tuple[str, int]]:
    return {(row.layer, row.index) for row in report.pruned_filters}


@pytest.mark.parametrize("name", [demo.name for demo in list_demos()])
def test_the_fast_path_finds_what_float32_finds(name: str) -> None:
    fast, plain = (scanned(name, precision) for precision in ("auto", "float32"))
    if fast.environment["precision"] == "float32":
        pytest.skip("no faster precision on this machine")
    shared = pruned(plain) & pruned(fast)
    for report in (plain, fast):
        print(  # noqa: T201
            f"{name} {report.environment['precision']}: {report.verdict} "
            f"{report.backdoor_score:.3f} {report.suspected_target_labels}, "
            f"{len(pruned(report))} filters pruned, {len(shared)} of them by both, accuracy "
            f"{report.accuracy.clean_before:.3f} -> {report.accuracy.clean_after:.3f}, "
            f"{sum(stage.seconds for stage in report.stages):.0f} s"
        )
    assert fast.verdict == plain.verdict
    assert fast.suspected_target_labels == plain.suspected_target_labels
    assert fast.backdoor_score == pytest.approx(plain.backdoor_score, abs=0.1)
