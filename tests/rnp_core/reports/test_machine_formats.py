"""JSON, SARIF, ML-BOM and model card: valid against their schemas, whatever the names are.

The schemas of CycloneDX come with the package cyclonedx-python-lib. That of SARIF is not in the
repository: ``RNP_SARIF_SCHEMA`` may name a copy, and what platforms rely on is checked without it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from rnp_core.errors import ReportError
from rnp_core.report import ScanReport
from rnp_core.reports import render_report
from rnp_core.reports.json_schema import report_schema
from rnp_core.taxonomy import RULES
from tests.helpers.hostile_report import (
    failed_report,
    hostile_report,
    with_suspects,
    write_example,
)
from tests.helpers.reports import example_report

PUBLISHED = Path(__file__).parents[3] / "docs" / "report.schema.json"
REPORTS: dict[str, Callable[[], ScanReport]] = {
    "example": example_report,
    "hostile": hostile_report,
    "failed": failed_report,
    "no suspects": lambda: with_suspects(0),
    "2000 suspects": lambda: with_suspects(2000),
}


@pytest.fixture(scope="module", params=REPORTS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_example(tmp_path_factory.mktemp("runs") / "run", REPORTS[request.param]())


def test_json_fits_the_published_schema(folder: Path) -> None:
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert published == report_schema(), "write docs/report.schema.json anew"
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.Draft202012Validator(published).validate(json.loads(render_report(folder, "json")))


def test_the_schema_refuses_what_is_no_report() -> None:
    data = example_report().to_dict()
    for name, value in (("verdict", "fine"), ("backdoor_score", "high"), ("schema_version", 2)):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(report_schema()).validate({**data, name: value})


def test_sarif_says_what_platforms_rely_on(folder: Path) -> None:
    log = json.loads(render_report(folder, "sarif"))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert len(run["results"]) == len(report["findings"])
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        place = result["locations"][0]["physicalLocation"]
        assert place["region"]["startLine"] == 1
        uri = place["artifactLocation"]["uri"]
        assert re.fullmatch(r"[A-Za-z0-9%/._-]+", uri)
        assert not uri.startswith("/") and ".." not in uri.split("/")
        assert re.fullmatch(r"[0-9a-f]{64}", result["partialFingerprints"]["rnpFinding/v1"])
    taxa = {taxon["id"] for part in run["taxonomies"] for taxon in part["taxa"]}
    known = {rule.id for rule in RULES} | {"RNP000"}
    for rule in rules:
        assert rule["id"] in known
        assert rule["help"]["text"]
        assert {relation["target"]["id"] for relation in rule["relationships"]} <= taxa
        assert 0 <= float(rule["properties"]["security-severity"]) <= 10
    failed = [stage for stage in report["stages"] if stage["status"] == "failed"]
    assert run["invocations"][0]["executionSuccessful"] is not bool(failed)
    assert len(run["invocations"][0]["toolExecutionNotifications"]) == len(failed)


def test_sarif_messages_hold_no_link_or_placeholder_of_others(tmp_path: Path) -> None:
    log = json.loads(render_report(write_example(tmp_path / "run", hostile_report()), "sarif"))
    (run,) = log["runs"]
    rows = [*run["results"], *run["invocations"][0]["toolExecutionNotifications"]]
    text = " ".join(row["message"]["text"] for row in rows)
    assert "[link] (javascript:" in text and "](" not in text
    assert "{{{{ 7 * 7 }}}}" in text
    assert not re.search(r"[{}]", text.replace("{{", "").replace("}}", ""))
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", text)


@pytest.mark.skipif("RNP_SARIF_SCHEMA" not in os.environ, reason="RNP_SARIF_SCHEMA is not set")
def test_sarif_fits_the_official_schema(folder: Path) -> None:
    schema = json.loads(Path(os.environ["RNP_SARIF_SCHEMA"]).read_text(encoding="utf-8"))
    jsonschema.Draft4Validator(schema).validate(json.loads(render_report(folder, "sarif")))


def test_mlbom_fits_the_official_schema(folder: Path) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    text = render_report(folder, "mlbom").decode()
    assert validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(text) is None


def test_mlbom_names_the_findings_and_the_repaired_model(tmp_path: Path) -> None:
    folder = write_example(tmp_path / "run", hostile_report())
    document = json.loads(render_report(folder, "mlbom"))
    assert [v["id"] for v in document["vulnerabilities"]][:2] == ["RNP001", "RNP101"]
    assert document["vulnerabilities"][0]["cwes"] == [506]
    assert {c["bom-ref"] for c in document["components"]} == {
        "scanned-model", "clean-images", "repaired-model",
    }  # fmt: skip
    assert render_report(folder, "mlbom") == render_report(folder, "mlbom")


def test_the_card_holds_no_markup_of_others(tmp_path: Path) -> None:
    text = render_report(write_example(tmp_path / "run", hostile_report()), "card").decode()
    unescaped = re.sub(r"\\.", "", text)
    assert "<" not in unescaped
    assert "](" not in unescaped
    assert "\u202e" not in text and "\x1b" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="expected a format among html"):
        render_report(tmp_path, "docx")
    with pytest.raises(ReportError, match="cannot read a report|expected the folder"):
        render_report(tmp_path / "nothing", "json")


def test_no_report_imports_torch(tmp_path: Path) -> None:
    folder = write_example(tmp_path / "run")
    code = (
        "import sys\nfrom rnp_core.cli import main\n"
        "for form in ('json', 'sarif', 'mlbom', 'card', 'html'):\n"
        f"    assert main(['report', {str(folder)!r}, '--quiet', '--out', {str(tmp_path)!r} + "
        "'/' + form, '--format', form]) == 0, form\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
