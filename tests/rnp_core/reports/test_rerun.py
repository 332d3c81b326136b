"""A scan repeated from its report: the same result, another one, and other files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rnp_core.cli import main
from rnp_core.errors import ReportError
from rnp_core.isolation.confine import Protection
from rnp_core.progress import OnProgress
from rnp_core.report import ScanReport
from rnp_core.reports.rerun import (
    SCORE_TOLERANCE,
    compare,
    rebuild_request,
    rerun,
    scan_same_files,
)
from rnp_core.request import ScanRequest
from rnp_core.run_reader import read_report
from rnp_core.scan_file import scan_request
from tests.helpers.files import write_checkpoint, write_images
from tests.helpers.reports import example_report

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a quick scan of a tiny model."""
    place = tmp_path_factory.mktemp("first")
    request = ScanRequest(
        checkpoint=str(write_checkpoint(place / "model.safetensors")),
        clean=str(write_images(place / "clean.npz")),
        out=str(place / "run"),
        preset="quick",
        threads=1,
    )
    scan_request(request)
    return place / "run"


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child's task in this process, where it starts at once."""
    protection = Protection("not blocked", (), 1 << 34, False, False, False)

    def run(task: str, payload: dict[str, Any], *, on_progress: OnProgress, **_: Any) -> None:
        assert task == "rnp_core.reports.rerun:scan_same_files"
        scan_same_files(json.loads(json.dumps(payload)), on_progress, protection)

    monkeypatch.setattr("rnp_core.reports.rerun.run_isolated", run)


def again(report: Path, out: Path, *more: str) -> int:
    return main(["scan", "--from-report", str(report), "--out", str(out), *more])


def claim(first: Path, path: Path, **changes: Any) -> Path:
    """The report of ``first`` with other claims."""
    report = dataclasses.replace(read_report(first), **changes)
    path.write_text(report.to_json(), encoding="utf-8")
    return path


def test_a_repeated_scan_is_the_same(first: Path, tmp_path: Path, capsys: Capsys) -> None:
    code = again(first / "report.json", tmp_path / "again", "--json")
    said = json.loads(capsys.readouterr().out)
    old, new = read_report(first), read_report(tmp_path / "again")
    assert said["same"] is True
    assert said["results"] == said["conditions"] == []
    assert said["files"]["checkpoint"] == old.model.sha256
    assert code == {"no_evidence": 0, "inconclusive": 3}.get(said["verdict"], 1)
    assert old.labels == new.labels
    assert new.environment["isolation"]["network"] in ("blocked", "not blocked")


@pytest.mark.usefixtures("in_process")
def test_the_same_result_is_said_with_its_tolerance(
    first: Path, tmp_path: Path, capsys: Capsys
) -> None:
    environment = {**read_report(first).environment, "torch": "1.0", "device": "\x1b[31mcuda"}
    report = claim(first, tmp_path / "report.json", environment=environment)
    assert again(report, tmp_path / "again") in (0, 1, 3)
    said = capsys.readouterr().out
    assert said.startswith("the same result: ")
    assert f"score within {SCORE_TOLERANCE}" in said
    assert "files: checkpoint and images have the SHA-256 sums of the report" in said
    assert "conditions: torch: 1.0 before" in said
    assert "conditions: device: \\u001b[31mcuda before, cpu now" in said


@pytest.mark.usefixtures("in_process")
def test_another_result_is_said(first: Path, tmp_path: Path, capsys: Capsys) -> None:
    score = 0.99 if read_report(first).backdoor_score < 0.5 else 0.01
    report = claim(
        first,
        tmp_path / "report.json",
        verdict="backdoored",
        backdoor_score=score,
        suspected_target_labels=[3],
    )
    assert again(report, tmp_path / "again") == 4
    said = capsys.readouterr().out
    assert said.startswith("ANOTHER result: ")
    for line in ("verdict: backdoored before", "suspected label: 3 before", f"score: {score}"):
        assert f"result: {line}" in said
    assert again(report, tmp_path / "again", "--force", "--quiet") == 4
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("other", ["checkpoint", "clean images", "suspect images"])
def test_other_files_are_refused_before_the_scan(
    first: Path, tmp_path: Path, capsys: Capsys, other: str
) -> None:
    images = str(write_images(tmp_path / "other.npz", count=60))
    changed = write_checkpoint(tmp_path / "other.safetensors", **{"fc2.bias": torch.ones(4)})
    more = {
        "checkpoint": [str(changed)],
        "clean images": ["--clean", images],
        "suspect images": ["--suspects", images],
    }
    assert again(first, tmp_path / "again", *more[other]) == 2
    said = capsys.readouterr().err
    assert f"expected the {other} of the report, SHA-256" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "again").exists()


def test_files_that_change_while_the_scan_runs_are_refused(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the child checked was right, what it then read was not."""
    report = read_report(first)
    late = dataclasses.replace(report, model=dataclasses.replace(report.model, sha256="ff" * 32))

    def run(*_: object, **__: object) -> None:
        (tmp_path / "again").mkdir()
        (tmp_path / "again" / "report.json").write_text(late.to_json(), encoding="utf-8")

    monkeypatch.setattr("rnp_core.reports.rerun.run_isolated", run)
    with pytest.raises(ReportError, match="expected the checkpoint of the report"):
        rerun(first, tmp_path / "again")


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"backdoor_score": 0.9 + SCORE_TOLERANCE / 2}, True),
        ({"backdoor_score": 0.9 - 2 * SCORE_TOLERANCE}, False),
        ({"verdict": "suspicious"}, False),
        ({"suspected_target_labels": [0, 1]}, False),
        ({"suspected_target_labels": [1, 0]}, True),
        ({"tool_version": "9", "config": {"preset": "quick"}}, True),
    ],
)
def test_what_counts_as_the_same(changes: dict[str, object], same: bool) -> None:
    before = example_report()
    after: ScanReport = dataclasses.replace(before, **changes)  # type: ignore[arg-type]
    found = compare(before, after)
    assert found.same is same
    assert len(found.results) + len(found.conditions) >= len(changes)
    json.dumps(found.to_dict())


def test_settings_and_reports_that_do_not_fit_are_refused(tmp_path: Path, capsys: Capsys) -> None:
    path = tmp_path / "report.json"
    path.write_text(example_report().to_json(), encoding="utf-8")
    for arguments, message in (
        (["--from-report", str(path), "--seed", "3"], "--seed cannot go with --from-report"),
        (["--from-report", str(path)], "does not say how the scan was asked for"),
        ([], "expected a checkpoint to scan"),
    ):
        assert main(["scan", *arguments, "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err


def test_code_is_never_taken_from_a_report(tmp_path: Path, capsys: Capsys) -> None:
    out = tmp_path / "out"
    request = ScanRequest(checkpoint="m.pth", clean="c.npz", out="o", arch="theirs.py:Net")
    report = dataclasses.replace(example_report(), request=request.to_dict())
    path = tmp_path / "report.json"
    path.write_text(report.to_json(), encoding="utf-8")
    assert main(["scan", "--from-report", str(path), "--out", str(out)]) == 2
    assert "this scan ran code, theirs.py:Net" in capsys.readouterr().err
    assert rebuild_request(report, out, trusted_arch="mine.py:Net").arch == "mine.py:Net"
    plain = dataclasses.replace(report, request={**request.to_dict(), "arch": "resnet20"})
    assert rebuild_request(plain, out).arch == "resnet20"
    for claimed, arch in ((plain, "mine.py:Net"), (report, "resnet20")):
        with pytest.raises(ReportError, match="only to name"):
            rebuild_request(claimed, out, trusted_arch=arch)
