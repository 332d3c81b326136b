"""A scan repeated from its report: the same result, another one, and other files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from rnp_core.cli import main
from rnp_core.errors import ReportError
from rnp_core.report import ScanReport
from rnp_core.reports.rerun import SCORE_TOLERANCE, compare, rebuild_request
from rnp_core.request import ScanRequest
from rnp_core.run_reader import read_report
from tests.helpers.files import write_checkpoint, write_images
from tests.helpers.reports import example_report

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a quick scan of a tiny model."""
    place = tmp_path_factory.mktemp("first")
    checkpoint = write_checkpoint(place / "model.safetensors")
    clean = write_images(place / "clean.npz")
    out = place / "run"
    main(
        ["scan", str(checkpoint), "--clean", str(clean), "--out", str(out), "--preset", "quick"]
        + ["--threads", "1", "--quiet", "--no-history"]
    )
    return out


def again(first: Path, out: Path, *more: str) -> int:
    return main(["scan", "--from-report", str(first / "report.json"), "--out", str(out), *more])


def test_a_repeated_scan_is_the_same(first: Path, tmp_path: Path, capsys: Capsys) -> None:
    code = again(first, tmp_path / "again", "--json")
    said = json.loads(capsys.readouterr().out)
    assert said["same"] is True
    assert said["results"] == said["conditions"] == []
    assert code == {"no_evidence": 0, "inconclusive": 3}.get(said["verdict"], 1)
    old, new = read_report(first), read_report(tmp_path / "again")
    assert old.labels == new.labels


def test_other_files_are_refused_before_the_scan(
    first: Path, tmp_path: Path, capsys: Capsys
) -> None:
    images = write_images(tmp_path / "other.npz", count=60)
    assert again(first, tmp_path / "a", "--clean", str(images)) == 2
    assert "expected the clean images of the report" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_another_result_is_said(first: Path, tmp_path: Path, capsys: Capsys) -> None:
    report = read_report(first)
    claimed = dataclasses.replace(
        report,
        verdict="backdoored",
        backdoor_score=0.99 if report.backdoor_score < 0.5 else 0.01,
        suspected_target_labels=[3],
        environment={**report.environment, "torch": "1.0"},
    )
    claim = tmp_path / "report.json"
    claim.write_text(claimed.to_json(), encoding="utf-8")
    code = main(["scan", "--from-report", str(claim), "--out", str(tmp_path / "b")])
    said = capsys.readouterr().out
    assert code == 4
    assert "ANOTHER result" in said
    assert "result: verdict: backdoored before" in said
    assert "conditions: torch: 1.0 before" in said


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
    assert len(found.results) + len(found.conditions) >= (len(changes) if "1, 0" not in str(
        changes) else 0)
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
