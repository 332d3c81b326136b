"""The cheap evidence itself, on real files."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rnp_core.data import DefenseSet
from rnp_core.errors import CheckpointError, ConfigError, RnpError
from rnp_core.jobs.records import result_facts
from rnp_core.jobs.triage import triage_request
from rnp_core.manifest import file_sha256
from rnp_core.model import SuspectModel
from rnp_core.progress import Progress
from rnp_core.request import ScanRequest
from rnp_core.stages.unlearn import UnlearnResult, unlearn
from tests.helpers.tiny_files import write_clean, write_model


class RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


def request_for(checkpoint: Path) -> ScanRequest:
    clean = write_clean(checkpoint.parent / "clean.npz")
    return ScanRequest(str(checkpoint), str(clean), str(checkpoint.parent / "run"), threads=1)


def test_a_triage_says_where_unlearning_drifts_to(tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = triage_request(request_for(write_model(tmp_path / "m.pt")), on_progress=seen.append)
    shares = result["unlearned_shares"]
    assert 0 <= result["drift"] == result["score"] <= 1 and sum(shares) == pytest.approx(1)
    assert result["labels"] in ([], [shares.index(max(shares))]) and result["findings"] == []
    assert {progress.stage for progress in seen} == {"load", "unlearn"}
    assert json.loads((tmp_path / "run" / "triage.json").read_text()) == result
    facts = result_facts("triage", tmp_path / "run")
    assert facts["sha256"] == file_sha256(tmp_path / "m.pt") and facts["file_severity"] == ""


def test_a_triage_computes_like_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    fast: list[SuspectModel] = []

    def scarce(model: SuspectModel, images: DefenseSet, **options: Any) -> UnlearnResult:
        sizes.append(options["config"].batch_size)
        fast.append(model)
        assert torch.backends.cudnn.deterministic
        if sizes[-1] > 40:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return unlearn(model, images, **options)

    monkeypatch.setattr("rnp_core.jobs.triage.unlearn", scarce)
    request = replace(request_for(write_model(tmp_path / "m.pt")), precision="float32")
    result = triage_request(request, on_progress=lambda progress: None)
    assert 0 <= result["drift"] <= 1 and sizes == [128, 64, 32]
    assert fast[0].memory_format == torch.channels_last and not fast[0].mixed_precision


def test_a_gpu_that_is_not_there_is_told_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    request = replace(request_for(tmp_path / "none.pt"), device="cuda")
    with pytest.raises(ConfigError, match="PyTorch sees none"):
        triage_request(request, on_progress=lambda progress: None)


def test_a_dangerous_file_counts_though_it_cannot_be_scanned(tmp_path: Path) -> None:
    torch.save({"weights": RunsCode()}, tmp_path / "m.pt")
    result = triage_request(request_for(tmp_path / "m.pt"), on_progress=lambda progress: None)
    assert result["score"] == 0.95 and result["labels"] == []
    assert result_facts("triage", tmp_path / "run")["file_severity"] == "critical"


def test_a_dangerous_file_counts_beside_its_weights(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.pt")
    torch.save({"state_dict": torch.load(path, weights_only=True), "extra": RunsCode()}, path)
    result = triage_request(request_for(path), on_progress=lambda progress: None)
    assert result["score"] == 0.95 and "drift" in result


def test_a_file_that_is_only_broken_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError):
        triage_request(request_for(tmp_path / "m.pt"), on_progress=lambda progress: None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change", [{"score": "high"}, {"labels": None}, {"findings": [1]}, {"findings": None}]
)
def test_a_result_of_the_wrong_form_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    good = {"score": 0.5, "labels": [1], "sha256": "0", "findings": []}
    (tmp_path / "triage.json").write_text(json.dumps({**good, **change}))
    with pytest.raises(RnpError, match="no readable result"):
        result_facts("triage", tmp_path)
