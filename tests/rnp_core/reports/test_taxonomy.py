"""The table of rules, the findings that name them, and the page that shows them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import rnp_core
from rnp_core.report import Finding
from rnp_core.taxonomy import (
    ATLAS_NAMES,
    ATLAS_VERSION,
    CWE_NAMES,
    OTHER,
    OWASP_NAMES,
    OWASP_VERSION,
    RULES,
    find_rule,
    ruled_findings,
)
from tests.helpers.reports import example_report

PACKAGE = Path(rnp_core.__file__).parent
PAGE = PACKAGE.parent / "docs" / "findings.md"


def calls(name: str) -> list[tuple[Path, ast.Call]]:
    """Every call of ``name`` in the package."""
    return [
        (path, node)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == name
    ]


def test_every_rule_is_whole_and_unique() -> None:
    assert len({rule.id for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.summary.endswith(".") and rule.advice.endswith(".")
        assert set(rule.atlas) <= ATLAS_NAMES.keys()
        assert set(rule.owasp) <= OWASP_NAMES.keys()
        assert set(rule.cwe) <= CWE_NAMES.keys()
        assert find_rule(rule.id) is rule is find_rule(rule.name)


def test_every_catalogue_entry_is_used() -> None:
    for names, field in ((ATLAS_NAMES, "atlas"), (OWASP_NAMES, "owasp"), (CWE_NAMES, "cwe")):
        assert {entry for rule in RULES for entry in getattr(rule, field)} == names.keys()


def test_every_finding_of_the_package_carries_a_rule() -> None:
    found = calls("Finding")
    assert len(found) >= 6
    for path, call in found:
        keywords = {keyword.arg for keyword in call.keywords}
        assert "rule" in keywords or len(call.args) == 5, f"{path}:{call.lineno}"


def test_every_finding_about_files_is_in_the_table() -> None:
    for path, call in calls("FileFinding"):
        rule = call.args[1]
        if isinstance(rule, ast.Constant):
            assert find_rule(str(rule.value)) is not OTHER, f"{path}:{call.lineno}"
    for name in ("unknown-global", "pickled-module", "other-objects"):
        assert find_rule(name) is not OTHER


def test_an_unknown_rule_is_no_error() -> None:
    assert find_rule("<script>") is OTHER
    report = example_report()
    report.findings.append(Finding("high", "x", "y", rule="RNP999"))
    assert [item.rule for item in ruled_findings(report)] == [OTHER, OTHER]


def test_the_page_names_the_catalogue_entries_and_their_versions() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ((?:AML|ML|CWE)\S+) \| (.+) \|$", text, re.M))
    assert rows == {**ATLAS_NAMES, **OWASP_NAMES, **CWE_NAMES}
    assert f"version {ATLAS_VERSION}" in text and f"version {OWASP_VERSION}" in text


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_page_says_what_the_table_says(rule: object) -> None:
    rows = {
        cells[0]: cells
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| RNP")
        for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
    }
    assert rows.keys() == {row.id for row in RULES}
    assert isinstance(rule, type(RULES[0]))
    assert rows[rule.id] == [
        rule.id,
        f"`{rule.name}`",
        rule.severity,
        rule.summary,
        rule.advice,
        ", ".join(rule.atlas) or "–",
        ", ".join(rule.owasp) or "–",
        ", ".join(rule.cwe) or "–",
    ]
