"""The documentation: the tutorial runs, the pages are whole, and the reference has every name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rnp_core
from rnp_core.cli import main
from scripts.docs_pages import PAGES, page, reference

DOCS = Path(__file__).parents[3] / "docs"


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
