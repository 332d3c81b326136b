"""The findings as SARIF 2.1.0 (OASIS), for code-scanning platforms.

A result points at the checkpoint file as a whole. Platforms want a line, so the region is line 1.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from rnp_core.plain_values import to_plain
from rnp_core.report import ScanReport
from rnp_core.reports.text import relative_uri, shown
from rnp_core.run_reader import RunFolder
from rnp_core.taxonomy import (
    ATLAS_NAMES,
    ATLAS_VERSION,
    CWE_NAMES,
    OWASP_NAMES,
    OWASP_VERSION,
    Rule,
    RuledFinding,
    ruled_findings,
)

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"

_LEVELS = {
    "critical": "error", "high": "error", "medium": "warning", "low": "note", "info": "note",
}  # fmt: skip
_SECURITY_SEVERITY = {
    "critical": "9.5", "high": "8.0", "medium": "5.0", "low": "3.0", "info": "0.0",
}  # fmt: skip
_CATALOGUES = (
    ("MITRE ATLAS", "MITRE", ATLAS_VERSION, ATLAS_NAMES, "atlas", "https://atlas.mitre.org"),
    (
        "OWASP ML Top 10",
        "OWASP",
        OWASP_VERSION,
        OWASP_NAMES,
        "owasp",
        "https://owasp.org/www-project-machine-learning-security-top-10",
    ),
    ("CWE", "MITRE", None, CWE_NAMES, "cwe", "https://cwe.mitre.org"),
)


def write_sarif(run: RunFolder) -> bytes:
    """The findings of a scan as one SARIF log with one run."""
    log = {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [_run(run.report)]}
    text = json.dumps(to_plain(log), indent=1, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode("utf-8", "backslashreplace")


def _run(report: ScanReport) -> dict[str, Any]:
    findings = sorted(ruled_findings(report), key=lambda item: item.number)
    rules = sorted({item.rule for item in findings}, key=lambda rule: rule.id)
    places = {rule.id: index for index, rule in enumerate(rules)}
    return {
        "tool": {
            "driver": {
                "name": "rnp",
                "fullName": "RNP scanner for backdoors in image classifiers",
                "version": shown(report.tool_version, most=40),
                "rules": [_rule(rule) for rule in rules],
                "supportedTaxonomies": [{"name": name} for name, *_ in _CATALOGUES],
            }
        },
        "automationDetails": {"id": f"rnp/{_uri(report)}/"},
        "columnKind": "unicodeCodePoints",
        "taxonomies": [_taxonomy(*catalogue) for catalogue in _CATALOGUES],
        "artifacts": [_artifact(report)],
        "invocations": [_invocation(report)],
        "results": [_result(report, item, places) for item in findings],
        "properties": {
            "verdict": report.verdict,
            "backdoorScore": report.backdoor_score,
            "verdictReason": shown(report.verdict_reason, most=2000),
            "suspectedTargetLabels": report.suspected_target_labels,
        },
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": "".join(part.capitalize() for part in rule.name.split("-")),
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.summary},
        "help": {"text": rule.advice, "markdown": f"**What to do.** {rule.advice}"},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "relationships": [
            {
                "target": {"id": identifier, "toolComponent": {"name": name}},
                "kinds": ["relevant"],
            }
            for name, *_, field, _ in _CATALOGUES
            for identifier in getattr(rule, field)
        ],
        "properties": {
            "tags": ["security", "machine-learning", *rule.atlas, *rule.owasp, *rule.cwe],
            "security-severity": _SECURITY_SEVERITY[rule.severity],
        },
    }


def _taxonomy(
    name: str, organization: str, version: str | None, names: dict[str, str], _: str, uri: str
) -> dict[str, Any]:
    return {
        "name": name,
        "organization": organization,
        **({"version": version} if version else {}),
        "informationUri": uri,
        "shortDescription": {"text": f"The entries of {name} that rules name"},
        "taxa": [
            {"id": identifier, "name": title, "shortDescription": {"text": title}}
            for identifier, title in names.items()
        ],
    }


def _artifact(report: ScanReport) -> dict[str, Any]:
    artifact: dict[str, Any] = {
        "location": {"uri": _uri(report)},
        "roles": ["analysisTarget"],
        "mimeType": "application/octet-stream",
    }
    if report.model.sha256:
        artifact["hashes"] = {"sha-256": shown(report.model.sha256, most=64)}
    if report.model.size_bytes is not None:
        artifact["length"] = report.model.size_bytes
    return artifact


def _invocation(report: ScanReport) -> dict[str, Any]:
    failed = [stage for stage in report.stages if stage.status == "failed"]
    return {
        "executionSuccessful": not failed and report.verdict != "error",
        "toolExecutionNotifications": [
            {
                "level": "error",
                "message": {
                    "text": f"stage {_message(stage.name, most=40)} failed: "
                    f"{_message(stage.detail, most=1000)}"
                },
            }
            for stage in failed
        ],
    }


def _result(report: ScanReport, item: RuledFinding, places: dict[str, int]) -> dict[str, Any]:
    finding, rule = item.finding, item.rule
    identity = f"{report.model.sha256}/{rule.id}/{finding.evidence.get('label', finding.message)}"
    return {
        "ruleId": rule.id,
        "ruleIndex": places[rule.id],
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{_message(finding.message, most=2000)} What to do: {rule.advice}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(report), "index": 0},
                    "region": {"startLine": 1},
                }
            }
        ],
        "partialFingerprints": {
            "rnpFinding/v1": hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()
        },
        "properties": {
            "severity": finding.severity,
            "stage": shown(finding.stage, most=60),
            "evidence": finding.evidence,
        },
    }


def _message(text: str, *, most: int) -> str:
    """Other people's text in a message, where braces are placeholders and ``[a](b)`` is a link."""
    return shown(text, most=most).replace("{", "{{").replace("}", "}}").replace("](", "] (")


def _uri(report: ScanReport) -> str:
    return relative_uri(report.model.path, report.model.file_name)
