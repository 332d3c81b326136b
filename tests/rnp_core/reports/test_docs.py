"""The documentation: the tutorial runs, the pages are whole, and the reference has every name."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rnp_core
from rnp_core.cli import main
from scripts.docs_pages import PAGES, page, reference

DOCS = Path(__file__).parents[3] / "docs"

RNP = """#!/bin/bash
# Stands in for rnp: a scan exits with $CODE and writes a report unless that is 2.
out=
for argument; do [ "$last" = --out ] && out=$argument; last=$argument; done
case "$1" in
  scan) [ "$CODE" = 2 ] || { mkdir -p "$out" && touch "$out/report.json"; }; exit "$CODE" ;;
  report) touch "$out" ;;
esac
"""
"""In front of the programs of a pipeline."""


def yaml_blocks() -> list[Any]:
    """The examples of the pipelines page, in order."""
    yaml = pytest.importorskip("yaml")
    text = (DOCS / "pipelines.md").read_text("utf-8")
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.S)]


def shell(folder: Path, script: str, code: int) -> int:
    """The exit code of a script of a pipeline in ``folder``, where the scan exits with ``code``."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name, text in (("rnp", RNP), ("pip", "#!/bin/bash\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "CODE": str(code)}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


def test_the_tutorial_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DOCS.parent)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "tutorial.md").read_text("utf-8"), re.S)
    assert len(blocks) == 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "tutorial.md", "exec"), names)


def test_the_reference_has_every_public_name() -> None:
    text = reference()
    for name in rnp_core.__all__:
        assert name == "__version__" or re.search(rf"^::: rnp_core\S*\.{name}$", text, re.M)


@pytest.mark.parametrize("source", PAGES)
def test_links_of_the_made_pages_lead_somewhere(source: str) -> None:
    made = set(PAGES.values()) | {"reference.md"}
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page(source)):
        assert target in made or (DOCS / target).is_file(), target


def test_the_pipelines_page_names_options_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    known = ""
    for command in ("scan", "report"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        known += capsys.readouterr().out
    for line in (DOCS / "pipelines.md").read_text("utf-8").splitlines():
        if re.match(r"\W*(run: )?rnp (scan|report) ", line):
            for option in re.findall(r"(?<=\s)--[a-z-]+", line):
                assert option in known, line


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_the_github_example_gates_and_keeps_its_reports(tmp_path: Path, code: int) -> None:
    workflow, lenient, _ = yaml_blocks()
    (job,) = workflow["jobs"].values()
    steps = {step.get("name", step.get("uses", step.get("run"))): step for step in job["steps"]}
    assert shell(tmp_path, steps["Scan"]["run"], code) == code
    assert shell(tmp_path, lenient["run"], code) == (0 if code == 3 else code)
    condition = re.search(r"hashFiles\('(.*?)'\)", steps["Reports"]["if"])
    assert condition is not None
    assert (tmp_path / condition[1]).is_file() is (code != 2)
    if code != 2:
        assert shell(tmp_path, steps["Reports"]["run"], code) == 0
        upload = next(step for name, step in steps.items() if "upload-sarif" in name)
        assert (tmp_path / upload["with"]["sarif_file"]).is_file()
        assert upload["with"]["sarif_file"] in upload["if"]
    assert workflow["permissions"]["security-events"] == "write"


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_the_gitlab_example_gates_and_keeps_its_reports(tmp_path: Path, code: int) -> None:
    job = yaml_blocks()[2]["scan-model"]
    assert shell(tmp_path, "\n".join(job["script"]), code) == code
    assert job["allow_failure"]["exit_codes"] == [3]
    assert shell(tmp_path, "\n".join(job["after_script"]), code) == 0
    assert (tmp_path / job["artifacts"]["reports"]["sarif"]).is_file() is (code != 2)


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("mkdocs", "mkdocstrings"))),
    reason="mkdocs is not installed",
)
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "reference" / "index.html").read_text(encoding="utf-8")
    assert all(name in page for name in rnp_core.__all__ if name != "__version__")
    assert (tmp_path / "report.schema.json").is_file()
