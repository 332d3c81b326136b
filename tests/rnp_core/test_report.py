"""The report: its field names are a contract, and it survives a round trip."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from rnp_core.errors import ReportError
from rnp_core.report import Finding, ScanReport
from rnp_core.run_folder import check_target, read_report, write_run
from tests.helpers.reports import example_report

STATE = {"fc.weight": torch.ones(2, 2)}

CONTRACT = {
    "": "schema_version tool_version created_at seed config environment model data verdict "
    "backdoor_score verdict_reason findings suspected_target_labels labels triggers "
    "pruned_filters accuracy samples attributions stages files",
    "environment": "torch python device threads precision",
    "model": "path file_name sha256 size_bytes format architecture num_classes normalization "
    "findings",
    "accuracy": "clean_before clean_after interval_before interval_after count "
    "flip_rate_before flip_rate_after",
    "labels": "label name unlearned_share trigger_norm norm_ratio anomaly_index score",
    "triggers": "label kind norm flip_rate flip_rate_repaired mask_png pattern_png preview_png "
    "field_png",
    "pruned_filters": "layer index mask_value score",
    "samples": "index id predicted predicted_repaired suspicion_score flagged",
    "attributions": "index method target model png",
    "stages": "name status seconds detail",
    "findings": "severity stage message evidence",
}


@pytest.mark.parametrize("place", CONTRACT)
def test_the_contract_holds(place: str) -> None:
    data = example_report().to_dict()
    row = data[place] if place else data
    if isinstance(row, list):
        row = row[0]
    assert set(CONTRACT[place].split()) <= set(row)


def test_round_trip() -> None:
    report = example_report()
    assert ScanReport.from_dict(report.to_dict()) == report
    assert ScanReport.from_dict(json.loads(report.to_json())) == report


def test_numbers_that_json_lacks_become_null() -> None:
    report = dataclasses.replace(
        example_report(), findings=[Finding("low", "data", "x", {"a": float("nan"), "b": [1e400]})]
    )
    assert report.to_dict()["findings"][0]["evidence"] == {"a": None, "b": [None]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "expected a report of schema 1, got 99"),
        ({"verdict": "clean"}, "expected one of backdoored, .* at report.verdict, got 'clean'"),
        ({"labels": {}}, "expected a list at report.labels, got dict"),
        ({"model": 3}, "expected an object at report.model, got int"),
    ],
)
def test_a_wrong_report_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ReportError, match=message):
        ScanReport.from_dict({**example_report().to_dict(), **change})


def test_an_early_report_without_fields_of_warps_is_read() -> None:
    data = example_report().to_dict()
    del data["triggers"][0]["field_png"]
    assert ScanReport.from_dict(data) == example_report()


def test_an_early_report_without_waves_is_read() -> None:
    data = example_report().to_dict()
    for row in data["labels"]:
        del row["sinusoid_lead"]
    assert ScanReport.from_dict(data) == example_report()


def test_a_model_is_repaired_by_pruning_or_by_tuning() -> None:
    pruned = example_report()
    assert pruned.was_repaired and not pruned.was_tuned
    kept = dataclasses.replace(pruned, pruned_filters=[])
    assert not kept.was_repaired
    tuned = dataclasses.replace(kept, findings=[Finding("info", "removal", "x", rule="RNP004")])
    assert tuned.was_repaired and tuned.was_tuned


def test_a_missing_field_is_named() -> None:
    data = example_report().to_dict()
    del data["backdoor_score"]
    with pytest.raises(ReportError, match="expected a field 'backdoor_score' at report"):
        ScanReport.from_dict(data)


def test_a_run_folder_holds_everything(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    write_run(folder, example_report(), pictures={"triggers/a.png": b"png"}, repaired_state=STATE)
    assert read_report(folder) == example_report()
    assert (folder / "triggers/a.png").read_bytes() == b"png"
    assert [path.name for path in folder.parent.iterdir()] == ["run"]


def test_a_failed_write_leaves_the_old_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    write_run(folder, example_report(), pictures={}, repaired_state=STATE)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rnp_core.run_folder.save_file", full)
    with pytest.raises(ReportError, match="No space left on device"):
        write_run(folder, example_report(), pictures={}, repaired_state=STATE, force=True)
    assert read_report(folder) == example_report()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_targets_that_cannot_take_a_scan(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ReportError, match="is a file"):
        check_target(file, force=True)
    with pytest.raises(ReportError, match="cannot write to"):
        check_target(file / "below", force=False)


def test_unreadable_reports(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="cannot read a report"):
        read_report(tmp_path / "nowhere")
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(ReportError, match="is not a report"):
        read_report(tmp_path)


def test_an_existing_folder_is_filled_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a mount point: nothing is made beside it and the folder itself never moves."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    place = folder.stat().st_ino
    for _ in range(2):
        write_run(folder, example_report(), pictures={"a/b.png": b"x"}, repaired_state=STATE,
                  force=True)
        assert folder.stat().st_ino == place
        assert read_report(folder) == example_report()
        assert not [entry for entry in folder.iterdir() if entry.name.startswith(".")]
    assert [path.name for path in tmp_path.iterdir()] == ["mounted"]


def test_an_earlier_scan_comes_back_when_a_move_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    write_run(folder, example_report(), pictures={"a.png": b"old"}, repaired_state=STATE)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    replace = Path.replace

    def failing(source: Path, target: Path) -> Path:
        if source.name == "report.json" and target.parent == folder and "old" not in str(source):
            monkeypatch.setattr(Path, "replace", replace)
            raise OSError(5, "Input/output error")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(ReportError, match="Input/output error"):
        write_run(folder, example_report(), pictures={"b.png": b"new"}, repaired_state=STATE,
                  force=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_full_disk_of_the_weights_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    monkeypatch.setattr("rnp_core.run_folder.save_file", full)
    with pytest.raises(ReportError, match="cannot write the scan to .*No space left on device"):
        write_run(tmp_path / "run", example_report(), pictures={}, repaired_state=STATE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x" * 300, "a\x00b"])
def test_names_that_no_file_system_takes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ReportError, match="cannot write to"):
        check_target(tmp_path / name, force=False)
