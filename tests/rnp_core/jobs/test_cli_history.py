"""``rnp history`` from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rnp_core import cli_history
from rnp_core.cli import main
from rnp_core.jobs import JobEngine
from rnp_core.jobs.types import DISPOSITIONS, JOB_STATES
from tests.rnp_core.jobs.conftest import MakeRequest, ScanAtOnce

Rnp = Callable[..., str]


@pytest.fixture
def rnp(home: Path, capsys: pytest.CaptureFixture[str]) -> Rnp:
    """Runs ``rnp history``, expects ``code``, and returns what it said."""
    def run(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(["history", *arguments, "--home", str(home)]) == code
        said = capsys.readouterr()
        assert bool(said.err) == bool(code)
        return said.err if code else said.out

    return run


@pytest.fixture
def scans(home: Path, make_request: MakeRequest, scan_at_once: ScanAtOnce) -> list[str]:
    """An innocent scan, and two of another checkpoint that agree."""
    innocent, bad = make_request(score=0.1), make_request(score=0.9)
    with JobEngine(home, run_jobs=False) as engine:
        return [
            scan_at_once(engine, innocent, title="an innocent one"),
            scan_at_once(engine, bad, title="[red]evil\x1b[0m", tags=["vendor"]),
            scan_at_once(engine, bad, title="again", tags=["vendor"]),
        ]


def test_scans_are_listed_and_filtered(
    rnp: Rnp, scans: list[str], home: Path, make_request: MakeRequest
) -> None:
    def found(*arguments: str) -> list[str]:
        listed = [job["id"] for job in json.loads(rnp(*arguments, "--json"))]
        assert [job["id"] for job in json.loads(rnp("list", *arguments, "--json"))] == listed
        return listed

    innocent, bad, again = scans
    assert found() == [again, bad, innocent]
    assert found("--verdict", "backdoored") == found("--tag", "vendor") == [again, bad]
    assert found("--state", "done", "--limit", "1") == [again]
    assert found("--text", "innocent one") == [innocent] and found("--state", "failed") == []
    rnp("decide", bad, "false-alarm", "--reviewer", "Ada", "--note", "looked at it")
    assert found("--disposition", "false_alarm") == [bad]
    with JobEngine(home, run_jobs=False) as engine:
        job = engine.job(bad)
    sha256 = job.checkpoint_sha256
    for which in (job.request.checkpoint, sha256, sha256[:8].upper()):
        assert found("--hash", which) == [again, bad]
    table = rnp()
    assert all(job_id in table for job_id in scans)
    assert "[red]evil?[0m" in table and "\x1b" not in table and "false_alarm" in table
    assert "scanned 2 times: backdoored" in rnp("--hash", sha256)
    assert "no finished scan" in rnp("--hash", make_request().checkpoint)
    assert "expected a sha256 or a checkpoint file" in rnp("--hash", "x.pth", code=2)


def test_one_scan_is_shown_with_its_decisions_and_its_like(rnp: Rnp, scans: list[str]) -> None:
    _, bad, again = scans
    rnp("decide", bad, "escalate", "--reviewer", "Ada", "--note", "ask [b]them[/b]")
    rnp("decide", bad, "confirmed", "--reviewer", "Bob")
    said = rnp("show", bad)
    assert "escalate by Ada" in said and "ask [b]them[/b]" in said and "confirmed by Bob" in said
    assert again in said and "scanned 2 times: backdoored" in said
    data = json.loads(rnp("show", bad, "--json"))
    assert [d["reviewer"] for d in data["dispositions"]] == ["Ada", "Bob"]
    assert [job["id"] for job in data["same_checkpoint"]] == [again]
    assert "there is no job 'x'" in rnp("show", "x", code=2)
    assert "reviewer's name" in rnp("decide", bad, "confirmed", "--reviewer", " ", code=2)


def test_tags_come_and_go(rnp: Rnp, scans: list[str]) -> None:
    assert rnp("tag", scans[1], "seen", "vendor") == "seen, vendor\n"
    assert rnp("tag", scans[1], "vendor", "--remove") == "seen\n"
    assert rnp("tag", scans[1], "seen", "--remove") == "no tags\n"


def test_scans_move_and_go(
    rnp: Rnp, scans: list[str], home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "scan.zip"
    rnp("export", scans[1], str(archive))
    assert "use --force" in rnp("export", scans[1], str(archive), code=2)
    rnp("export", scans[1], str(archive), "--force")
    assert "is here already" in rnp("import", str(archive), code=2)
    rnp("delete", *scans)
    assert json.loads(rnp("--json")) == []
    assert rnp("import", str(archive)) == f"{scans[1]}\n"
    assert (home / "runs" / scans[1] / "report.json").is_file()
    assert "No such file" in rnp("import", str(tmp_path / "missing.zip"), code=2)


def test_a_scan_that_was_cancelled_runs_again(
    rnp: Rnp, home: Path, make_request: MakeRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    with JobEngine(home, run_jobs=False) as engine:
        job_id, other = (engine.submit(make_request(score=0.9)) for _ in range(2))
        rnp("cancel", job_id)
        assert engine.job(job_id).state == "cancelled"
        capsys.readouterr()
        assert main(["history", "resume", job_id, "--home", str(home)]) == 0
        said = capsys.readouterr()
        assert said.out.split()[:2] == [job_id, "backdoored"] and "unlearn" in said.err
        assert engine.job(job_id).state == "done" and engine.job(other).state == "queued"
    assert "is done; only failed" in rnp("resume", job_id, code=2)


def test_the_choices_are_those_of_the_history() -> None:
    """They are written twice, so that the help of the program need not load the engine."""
    assert cli_history._STATES == JOB_STATES
    assert cli_history._DECISIONS == DISPOSITIONS
