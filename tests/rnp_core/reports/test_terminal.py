"""What commands say to a terminal and to a pipe: no names of others that act, no stray colour."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rnp_core.cli import _summary, main
from tests.helpers.files import write_checkpoint, write_images
from tests.helpers.hostile_report import hostile_report
from tests.helpers.reports import example_report

Capsys = pytest.CaptureFixture[str]
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]")
ACTS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_hostile_names_do_nothing_to_a_terminal(capsys: Capsys) -> None:
    _summary(hostile_report(), Path("out\x1b[31m"))
    said = capsys.readouterr().out
    assert not ACTS.search(said)
    assert "<script>alert(1)</script>" in said
    assert "out\\u001b[31m" in said


def test_an_error_names_a_hostile_file_as_text(capsys: Capsys) -> None:
    assert main(["report", "no\x1b]0;title\x07\n\u202efolder", "--format", "json"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and not ACTS.search(said)
    assert "no\\u001b]0;title" in said


def test_colours_are_for_terminals_alone(capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    _summary(example_report(), Path("out"))
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    _summary(example_report(), Path("out"))
    assert COLOUR.search(capsys.readouterr().out)
    monkeypatch.setenv("NO_COLOR", "1")
    _summary(example_report(), Path("out"))
    assert not COLOUR.search(capsys.readouterr().out)


def test_a_pipe_gets_json_and_nothing_else(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model.safetensors")
    clean = write_images(tmp_path / "clean.npz")
    command = [sys.executable, "-m", "rnp_core", "scan", checkpoint, "--clean", clean, "--json"]
    done = subprocess.run(
        [*command, "--out", tmp_path / "run", "--preset", "quick", "--threads", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert done.returncode == {"no_evidence": 0, "inconclusive": 3}.get(report["verdict"], 1)
    assert done.stderr == ""
