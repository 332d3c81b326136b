"""The whole scan on the planted backdoor, and the demo models end to end."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import rnp_core
from rnp_core.cli import main
from rnp_core.errors import ModelError, ScanCancelled
from rnp_core.evaluation.success import attack_success_rate
from rnp_core.pipeline import STAGES
from rnp_core.progress import Progress
from tests.helpers.models import CORNER_TRIGGER, TARGET, QuadrantNet, planted_model, suspect
from tests.helpers.sets import quadrant_set

SET = quadrant_set(20)
CONFIG = dataclasses.replace(rnp_core.preset_config("quick"), min_clean_accuracy=0.4)


@pytest.fixture(scope="module")
def result() -> rnp_core.ScanResult:
    return rnp_core.scan(
        planted_model(),
        SET,
        suspects=rnp_core.SuspectSet(
            torch.cat([SET.images[:8], CORNER_TRIGGER.apply(SET.images[8:16])]),
            tuple(f"{index}.png" for index in range(16)),
        ),
        config=CONFIG,
    )


def test_the_planted_backdoor_is_named_and_removed(result: rnp_core.ScanResult) -> None:
    report = result.report
    assert report.verdict == "backdoored"
    assert report.suspected_target_labels[0] == TARGET
    truth = (SET.images, SET.labels, CORNER_TRIGGER, TARGET)
    assert attack_success_rate(planted_model(), *truth) == 1.0
    assert attack_success_rate(result.repaired, *truth) < 0.2
    assert report.accuracy.clean_after >= report.accuracy.clean_before - 0.05


def test_the_report_is_consistent(result: rnp_core.ScanResult) -> None:
    report = result.report
    assert {stage.name for stage in report.stages} == set(STAGES)
    assert all(stage.status == "done" for stage in report.stages)
    named = {row.preview_png for row in report.triggers} | {row.png for row in report.attributions}
    assert named <= set(result.pictures)
    assert rnp_core.ScanReport.from_dict(json.loads(report.to_json())).verdict == report.verdict
    methods = {row.method for row in report.attributions}
    assert {"integrated_gradients", "occlusion", "grad_cam"} <= methods
    assert {row.model for row in report.attributions} == {"original", "repaired"}


def test_triggered_suspects_score_highest(result: rnp_core.ScanResult) -> None:
    poisoned = [row.suspicion_score for row in result.report.samples[8:] if row.predicted == TARGET]
    clean = [row.suspicion_score for row in result.report.samples[:8]]
    assert sum(score > max(clean) for score in poisoned) >= len(poisoned) * 0.7


def test_a_plain_module_can_be_scanned() -> None:
    network = planted_model().network
    report = rnp_core.scan(network, SET, config=CONFIG).report
    assert report.model.num_classes == 4
    assert report.samples == []


def test_a_callback_can_stop_it() -> None:
    def stop(progress: Progress) -> None:
        if progress.stage == "recover":
            raise ScanCancelled("stop")

    with pytest.raises(ScanCancelled):
        rnp_core.scan(planted_model(), SET, config=CONFIG, on_progress=stop)


@pytest.mark.parametrize(("precision", "digits"), [("auto", "tf32"), ("float32", "ieee")])
def test_how_it_computes_is_put_back(precision: str, digits: str) -> None:
    cudnn: Any = torch.backends.cudnn

    def look(progress: Progress) -> None:
        assert (cudnn.conv.fp32_precision, cudnn.deterministic) == (digits, True)
        raise ScanCancelled("seen enough")

    config = dataclasses.replace(CONFIG, precision=precision)
    with pytest.raises(ScanCancelled, match="seen enough"):
        rnp_core.scan(planted_model(), SET, config=config, on_progress=look)
    assert (cudnn.conv.fp32_precision, cudnn.deterministic) == ("tf32", False)


def test_a_failed_stage_is_listed_and_never_milder(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **settings: object) -> None:
        raise ModelError("no triggers today")

    monkeypatch.setattr("rnp_core.pipeline.recover_triggers", broken)
    clean = suspect(QuadrantNet(backdoor=False))
    report = rnp_core.scan(clean, SET, config=CONFIG).report
    assert report.verdict in ("inconclusive", "backdoored")
    assert ("triggers", "failed") in {(stage.name, stage.status) for stage in report.stages}


def _findings(report: rnp_core.ScanReport, rule: str) -> list[str]:
    return [finding.message for finding in report.findings if finding.rule == rule]


SUSPECTS = rnp_core.SuspectSet(CORNER_TRIGGER.apply(SET.images[:1]), ("one.png",))


def test_one_suspect_is_triaged(result: rnp_core.ScanResult) -> None:
    report = rnp_core.scan(planted_model(), SET, suspects=SUSPECTS, config=CONFIG).report
    assert len(report.samples) == 1
    assert report.samples[0].predicted_unlearned is not None


def test_suspects_of_another_size_are_refused_before_the_work() -> None:
    wide = rnp_core.SuspectSet(torch.zeros(1, 3, 9, 9), ("wide",))
    with pytest.raises(rnp_core.DataError, match="expected suspect images of shape"):
        rnp_core.scan(planted_model(), SET, suspects=wide, config=CONFIG)


def test_a_removal_that_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **settings: object) -> None:
        raise KeyError("layer4")

    monkeypatch.setattr("rnp_core.pipeline.remove_backdoor", broken)
    found = rnp_core.scan(planted_model(), SET, suspects=SUSPECTS, config=CONFIG)
    assert found.report.verdict == "backdoored"
    (message,) = _findings(found.report, "RNP008")
    assert "KeyError: 'layer4'" in message
    assert "original weights" in message
    assert found.report.accuracy.clean_after == found.report.accuracy.clean_before
    assert [row.flip_rate for row in found.report.triggers] == [
        row.flip_rate_repaired for row in found.report.triggers
    ]
    assert len(found.report.samples) == 1  # scored with the unlearned model


def test_a_failed_stage_beside_the_verdict_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **settings: object) -> None:
        raise ModelError("no masks today")

    monkeypatch.setattr("rnp_core.pipeline.recover", broken)
    report = rnp_core.scan(suspect(QuadrantNet(backdoor=False)), SET, config=CONFIG).report
    assert _findings(report, "RNP009") == ["The stage recover failed: no masks today."]


def test_every_label_has_its_trigger_and_no_picture_is_drawn_twice(
    result: rnp_core.ScanResult,
) -> None:
    rows = result.report.triggers
    assert {row.label for row in rows} == set(range(4))
    assert len({(row.label, row.kind) for row in rows}) == len(rows)
    assert rows[0].label == TARGET
    assert result.report.accuracy.flip_rate_before == rows[0].flip_rate


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("patch-vgg", "backdoored"),
        pytest.param("patch", "backdoored", marks=pytest.mark.slow),
        pytest.param("blend", "backdoored", marks=pytest.mark.slow),
        pytest.param("clean-a", "no_evidence", marks=pytest.mark.slow),
        pytest.param("clean-b", "no_evidence", marks=pytest.mark.slow),
    ],
)
def test_a_demo_model_end_to_end(name: str, expected: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code = main(["scan", f"demo:{name}", "--out", str(out), "--quiet", "--preset", "quick"])
    report = rnp_core.read_report(out)
    demo = rnp_core.find_demo(name)
    assert report.verdict == expected
    assert code == (1 if expected == "backdoored" else 0)
    assert set(load_file(out / "repaired.safetensors")) == set(load_file(demo.checkpoint))
    if expected == "backdoored":
        assert report.suspected_target_labels[:1] == [demo.card["target"]]
        assert any(sample.flagged for sample in report.samples)
