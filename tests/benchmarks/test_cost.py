"""The benchmark of seconds, memory and multiply-adds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.cost.cases import CASES, Case
from benchmarks.cost.command import main
from benchmarks.cost.demos import DEMOS, clean_demo
from benchmarks.cost.measure import run_case
from benchmarks.cost.meter import StageMeter
from benchmarks.cost.networks import (
    backdoored_network,
    fitted_network,
    prototype_images,
    with_square,
)
from benchmarks.cost.tables import stage_table, table
from rnp_core import pipeline
from rnp_core.architectures import build
from rnp_core.metrics import clean_accuracy


def row(**changes: Any) -> dict[str, Any]:
    found = {
        "case": "wrn16-1-10c-500i-0s-2t-auto", "precision": "bfloat16", "suspects": 0,
        "loading_seconds": 2.0, "seconds": 20.0, "peak_mib": 600.0,
        "official_steps": 40.0, "neural_cleanse": 500.0,
        "stages": {"unlearn": 4.0, "recover": 3.0, "triggers": 5.0, "removal": 3.0, "samples": 1.0},
    }  # fmt: skip
    return {**found, **changes}


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert Case("resnet18", learned="backdoor").name.endswith("-auto-backdoor")
    assert Case("resnet18", brief=True).name.endswith("-auto-brief")
    assert Case("resnet18").is_counted and not Case("resnet18", classes=43).is_counted


def test_the_table_gives_ratios_and_shares() -> None:
    lines = table([row(), row(multiply_adds=int(4e12), matrix_rate=4e11, suspects=10)]).splitlines()
    assert "| 2.0 | 20.0 | 600 | 10.0 | 40 (4.0) | 5.0 | 500 (100.0) | – | – | – |" in lines[2]
    assert "| 1.0 | 4000 | 50% |" in lines[3]


def test_a_case_that_failed_and_a_stage_that_did_not_run_break_no_table() -> None:
    text = table([{"case": "a", "error": "MemoryError"}, row(stages={}), row(brief=True)])
    assert "failed: MemoryError" in text and "40 (–)" in text
    assert len({line.count("|") for line in text.splitlines()}) == 1


def test_a_fitted_network_tells_the_classes_apart() -> None:
    model = fitted_network("wrn16-1", 10)
    images, labels = prototype_images(10, 32, 40, seed=5)
    assert float((model(images).argmax(1) == labels).float().mean()) > 0.9
    before = images.clone()
    with_square(images[:4])
    assert torch.equal(images[4:], before[4:]) and not torch.equal(images[:4], before[:4])


def test_an_unknown_case_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "nonsense"])
    assert "expected cases among wrn16-1-10c-500i-0s-2t-auto" in capsys.readouterr().err


def test_a_network_learns_clean_images_and_a_square() -> None:
    model = backdoored_network("wrn16-1", 4)
    images, labels = prototype_images(4, 32, 40, seed=5)
    assert float((model(images).argmax(1) == labels).float().mean()) > 0.9
    with_square(images)
    assert float((model(images).argmax(1) == 0).float().mean()) > 0.9


def test_a_demo_model_is_widened_and_answers_as_before() -> None:
    for name in DEMOS:
        model, clean = clean_demo(name, 10, 500)
        assert len(clean.images) == 500 and set(clean.labels.tolist()) == set(range(10))
        assert clean_accuracy(model, clean) > 0.95
    full = build("resnet18_cifar", num_classes=10)
    assert [p.shape for p in model.network.parameters()] == [p.shape for p in full.parameters()]


def test_rows_of_other_cases_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "benchmarks.cost.command.measure",
        lambda case, *, runs, **_settings: row(case=case.name, runs=runs),
    )
    for runs, only in ((1, "wrn16-1-10c-500i-0s-?t-auto"), (2, "wrn16-1-10c-500i-0s-1t-auto")):
        assert main(["--only", only, "--runs", str(runs), "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "cost.json").read_text(encoding="utf-8"))["rows"]
    assert {(kept["case"], kept["runs"]) for kept in rows} == {
        ("wrn16-1-10c-500i-0s-2t-auto", 1),
        ("wrn16-1-10c-500i-0s-1t-auto", 2),
    }
    assert (tmp_path / "cost.md").read_text(encoding="utf-8").count("wrn16-1-10c") == 2


def test_a_brief_scan_is_measured_by_stage() -> None:
    threads = torch.get_num_threads()
    case = Case("wrn16-1", clean=40, threads=threads, precision="float32", brief=True)
    timed = run_case(case, count_operations=False, device="cpu")
    assert set(timed["stage_peak_mib"]) <= set(timed["stages"])
    assert 0 < timed["stage_peak_mib"]["triggers"] <= timed["peak_mib"] + 1
    assert timed["stages"]["removal"] > 0 and len(timed["labels"]) == 1  # the most suspicious one
    assert timed["loading_seconds"] > 0 and timed["matrix_rate"] > 1e8
    counted = run_case(case, count_operations=True, device="cpu")
    stages = counted["stage_multiply_adds"]
    assert stages["triggers"] > 0 and sum(stages.values()) <= counted["multiply_adds"]
    lines = stage_table([{**row(), **timed, **counted}]).splitlines()
    assert len(lines) == 2 + len(stages)


def test_a_meter_leaves_the_scan_as_it_was() -> None:
    before = pipeline.StageLog
    with pytest.raises(TypeError):
        StageMeter(torch.device("cpu")).scan()
    assert pipeline.StageLog is before
