"""Finished stages are kept and read back; an interrupted scan goes on and ends the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from rnp_core.config import preset_config
from rnp_core.errors import ScanCancelled
from rnp_core.model import SuspectModel
from rnp_core.pipeline import scan
from rnp_core.progress import Progress
from rnp_core.report import ScanReport
from rnp_core.stage_log import KEPT
from rnp_core.stage_store import StageStore, open_stage_store, scan_fingerprint
from rnp_core.stages.triggers import TriggerSearch
from rnp_core.stages.unlearn import UnlearnConfig, unlearn
from tests.helpers.models import planted_model
from tests.helpers.sets import quadrant_set

CONFIG = preset_config("quick")


def lasting(report: ScanReport) -> dict[str, object]:
    """The report without times and dates."""
    stages = [dataclasses.replace(row, seconds=0.0, detail="") for row in report.stages]
    return dataclasses.replace(report, created_at="", stages=stages).to_dict()


def test_an_interrupted_scan_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    model, images = planted_model(), quadrant_set(20)
    expected = scan(model, images, config=CONFIG)

    def stop(progress: Progress) -> None:
        if progress.stage == "attribute":
            raise ScanCancelled("stop")

    with pytest.raises(ScanCancelled):
        scan(model, images, config=CONFIG, stages=tmp_path, on_progress=stop)
    seen: set[str] = set()
    result = scan(
        model, images, config=CONFIG, stages=tmp_path, on_progress=lambda p: seen.add(p.stage)
    )
    kept = {row.name for row in result.report.stages if row.detail == KEPT}
    assert kept == {"unlearn", "recover", "triggers", "removal"} and not seen & kept
    assert lasting(result.report) == lasting(expected.report)
    for name, value in expected.repaired.state_dict().items():
        assert torch.equal(value, result.repaired.state_dict()[name])


def test_results_of_another_arithmetic_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = planted_model(), quadrant_set()
    fast, rounded = model.copy(), model.copy()
    fast.memory_format, rounded.mixed_precision = torch.channels_last, True
    digests = [scan_fingerprint(each, images, CONFIG) for each in (model, fast, rounded)]
    monkeypatch.setattr(SuspectModel, "device", torch.device("cuda"))
    digests.append(scan_fingerprint(model, images, CONFIG))
    assert len(set(digests)) == 4


def test_results_of_other_inputs_do_not_count(tmp_path: Path) -> None:
    model, images = planted_model(), quadrant_set()
    found = unlearn(model, images, config=UnlearnConfig(max_steps=2))
    open_stage_store(tmp_path, model, images, CONFIG).save("unlearn", found)
    again = open_stage_store(tmp_path, model, images, CONFIG).load("unlearn")
    assert torch.equal(again.shares, found.shares) and again.collapsed is found.collapsed
    for other in (
        open_stage_store(tmp_path, planted_model(norm=False), images, CONFIG),
        open_stage_store(tmp_path, model, quadrant_set(seed=1), CONFIG),
        open_stage_store(tmp_path, model, images, preset_config("quick", seed=1)),
    ):
        assert other.load("unlearn") is None


@pytest.mark.parametrize("damage", ["cut", "noise", "pickle"])
def test_damaged_results_are_left_out(tmp_path: Path, damage: str) -> None:
    model, images = planted_model(), quadrant_set()
    store = open_stage_store(tmp_path, model, images, CONFIG)
    store.save("unlearn", unlearn(model, images, config=UnlearnConfig(max_steps=2)))
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    bad = {"cut": data[: len(data) // 2], "noise": b"\xff" * 100, "pickle": b"cos\nsystem\n."}
    path.write_bytes(bad[damage])
    assert store.load("unlearn") is None
    assert store.load("target label") is None


def test_a_search_comes_back_with_or_without_waves(tmp_path: Path) -> None:
    store = StageStore(tmp_path, model=planted_model(), fingerprint="same")
    for leads in (None, torch.tensor([0.5, -0.5])):
        store.save("triggers", TriggerSearch({}, sinusoid_leads=leads))
        found = store.load("triggers")
        assert (found.sinusoid_leads is None) == (leads is None)
        assert leads is None or torch.equal(found.sinusoid_leads, leads)
