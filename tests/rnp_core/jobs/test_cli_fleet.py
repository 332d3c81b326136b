"""``rnp fleet`` from the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from rnp_core.cli import main
from rnp_core.cli_fleet import fleet_table
from rnp_core.jobs.fleet import FleetProgress
from rnp_core.jobs.fleet_ranking import FleetRow


def test_a_fleet_is_ranked_and_its_exit_code_is_the_worst(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").mkdir()
    for number, score in enumerate((0.1, 0.9)):
        (tmp_path / "models" / f"{number}.pt").write_text(json.dumps({"score": score}))
    (tmp_path / "clean.npz").write_bytes(b"images")
    arguments = ["fleet", str(tmp_path / "models"), "--clean", str(tmp_path / "clean.npz"),
                 "--out", str(tmp_path / "out"), "--home", str(tmp_path / "home"),
                 "--scheduler", "direct"]
    assert main(arguments) == 1
    said = capsys.readouterr().out
    assert "2 models: 1 backdoored, 1 no_evidence" in said and "models/1.pt" in said
    assert main([*arguments, "--quiet"]) == 1
    assert capsys.readouterr().out == ""
    assert len(json.loads((tmp_path / "out" / "ranking.json").read_text())["models"]) == 2


def test_models_without_images_need_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.pt").write_text("{}")
    assert main(["fleet", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "--clean is needed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_stopped_fleet_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(self: object, on_update: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "a.pt").write_text("{}")
    (tmp_path / "clean.npz").write_bytes(b"images")
    arguments = ["fleet", str(tmp_path), "--clean", str(tmp_path / "clean.npz"),
                 "--home", str(tmp_path / "home"), "--scheduler", "direct", "--out"]
    monkeypatch.setattr("rnp_core.jobs.fleet.Fleet.run", press)
    assert main([*arguments, str(tmp_path / "out")]) == 2
    assert "run the same command again" in capsys.readouterr().err
    assert main([*arguments, str(tmp_path / "a.pt")]) == 2
    assert "cannot write to" in capsys.readouterr().err
    assert main([*arguments, str(tmp_path / "out"), "--memory", "0.1"]) == 2
    assert "memory limit of at least 1 GiB" in capsys.readouterr().err


def test_the_live_table_fits_a_narrow_terminal() -> None:
    path = "models/resnet18-cifar10-badnets-target-3-seed-12.pt"
    row = FleetRow(path, "0", "interrupted", "triage", "backdoored", 0.93, (13, 7, 9),
                   file_severity="critical", rank=10_000)
    console = Console(file=io.StringIO(), width=80)
    console.print(fleet_table(FleetProgress([row], 2, 2, 1, 1, ""), seconds=65))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    for word in ("10000", "backdoored", "0.93", "triage", "13 7 9", "critical", "interrupted"):
        assert word in said
    assert max(map(len, said.splitlines())) <= 80


def test_the_live_table_shows_names_as_text() -> None:
    row = FleetRow("x/[red]evil\x1b[0m.pt", "0", "done", "scan", "backdoored", 0.93, (3,), rank=1)
    progress = FleetProgress([row], 2, 2, 1, 1, "[link]no workers")
    console = Console(file=io.StringIO(), width=120)
    console.print(fleet_table(progress, seconds=65))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "x/[red]evil?[0m.pt" in said and "\x1b" not in said
    assert "1 of 2 finished" in said and "1:05" in said and "[link]no workers" in said
