"""The manifest of a run folder, its signature, and the command that checks them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from rnp_core.cli import main
from rnp_core.errors import ReportError
from rnp_core.manifest import MANIFEST_NAME, check_manifest
from rnp_core.reports.signing import check_signature, is_available, sign_manifest
from tests.helpers.hostile_report import write_example

needs_minisign = pytest.mark.skipif(not is_available(), reason="minisign is not installed")
Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_example(tmp_path / "run")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    public, secret = tmp_path / "key.pub", tmp_path / "key.sec"
    subprocess.run(
        ["minisign", "-G", "-W", "-p", public, "-s", secret], check=True, capture_output=True
    )
    return public, secret


def test_a_fresh_folder_is_intact(folder: Path, capsys: Capsys) -> None:
    found = check_manifest(folder)
    assert found.intact
    assert found.count == sum(path.is_file() for path in folder.rglob("*")) - 1
    assert main(["report", str(folder), "--verify"]) == 0
    said = capsys.readouterr().out
    assert "intact" in said and "signature: none" in said


def test_every_kind_of_change_is_named(folder: Path, capsys: Capsys) -> None:
    report = folder / "report.json"
    report.write_text(report.read_text(encoding="utf-8").replace("0.9", "0.1"), encoding="utf-8")
    (folder / "m.png").unlink()
    (folder / "triggers").mkdir()
    (folder / "triggers" / "new\n.png").write_bytes(b"x")
    (folder / "p.png").unlink()
    (folder / "p.png").symlink_to(folder / "v.png")
    found = check_manifest(folder)
    assert found.changed == ("p.png", "report.json")
    assert found.missing == ("m.png",)
    assert found.added == ("triggers/new\n.png",)
    assert main(["report", str(folder), "--verify"]) == 1
    said = capsys.readouterr().out
    assert "changed: report.json" in said and "added: triggers/new\\n.png" in said
    assert main(["report", str(folder), "--verify", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["missing"] == ["m.png"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"manifest_version": 9, "algorithm": "sha256", "files": {}}', "[" * 9]
)
def test_a_broken_manifest_is_one_error(folder: Path, text: str, capsys: Capsys) -> None:
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")
    assert main(["report", str(folder), "--verify"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_without_manifest_is_an_error(folder: Path) -> None:
    (folder / MANIFEST_NAME).unlink()
    with pytest.raises(ReportError, match="expected a manifest"):
        check_manifest(folder)


@needs_minisign
def test_a_signature_holds_for_its_key_and_manifest_alone(
    folder: Path, keys: tuple[Path, Path], capsys: Capsys
) -> None:
    public, secret = keys
    assert main(["report", str(folder), "--sign", str(secret)]) == 0
    assert check_manifest(folder).intact
    assert main(["report", str(folder), "--verify", "--public-key", str(public)]) == 0
    assert "signature: valid" in capsys.readouterr().out
    with (folder / MANIFEST_NAME).open("a") as file:
        file.write(" ")
    with pytest.raises(ReportError, match="minisign refused"):
        check_signature(folder, public_key=public)


@needs_minisign
def test_a_changed_folder_is_not_signed(folder: Path, keys: tuple[Path, Path]) -> None:
    (folder / "m.png").unlink()
    assert main(["report", str(folder), "--sign", str(keys[1]), "--quiet"]) == 2


def test_a_missing_signature_or_program_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ReportError, match="expected a signature"):
        check_signature(folder, public_key=folder / "key.pub")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ReportError, match="not installed"):
        sign_manifest(folder, key=folder / "key.sec")
