"""The scan as a CycloneDX 1.6 machine-learning bill of materials.

It lists the scanned model with its hash and model card, the repaired model made from it, and every
finding as a vulnerability of the scanned model.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from typing import Any

from rnp_core.manifest import file_sha256
from rnp_core.report import ScanReport
from rnp_core.reports.text import shown
from rnp_core.reports.wording import limits_of, words
from rnp_core.run_reader import REPAIRED_NAME, RunFolder
from rnp_core.taxonomy import RuledFinding, ruled_findings

SPEC_VERSION = "1.6"
_SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_MODEL = "scanned-model"
_REPAIRED = "repaired-model"
_TRUSTED = "clean-images"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SEVERITY = {
    "critical": "critical", "high": "high", "medium": "medium", "low": "low", "info": "info",
}  # fmt: skip


def write_mlbom(run: RunFolder) -> bytes:
    """The bill of materials of a scan; the same run folder gives the same bytes."""
    report = run.report
    repaired = _repaired(run)
    content = hashlib.sha256(report.to_json().encode("utf-8", "backslashreplace")).hexdigest()
    document: dict[str, Any] = {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}",
        "version": 1,
        "metadata": {
            "timestamp": report.created_at,
            "tools": {
                "components": [
                    {
                        "type": "application",
                        "name": "rnp",
                        "version": shown(report.tool_version, most=40),
                        "description": "Backdoor scanner for image classifiers",
                    }
                ]
            },
        },
        "components": [_model(report), _images(report), *repaired],
        "dependencies": [
            {"ref": _MODEL, "dependsOn": [_TRUSTED]},
            {"ref": _TRUSTED},
            *({"ref": item["bom-ref"], "dependsOn": [_MODEL, _TRUSTED]} for item in repaired),
        ],
        "vulnerabilities": [_vulnerability(item) for item in ruled_findings(report)],
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _model(report: ScanReport) -> dict[str, Any]:
    model = report.model
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": shown(model.file_name or model.architecture, most=200),
        **_hashes(model.sha256),
        "modelCard": {
            "modelParameters": {
                "task": "image-classification",
                "modelArchitecture": shown(model.architecture, most=200),
                "datasets": [{"ref": _TRUSTED}],
                "inputs": [{"format": "image " + "x".join(map(str, model.input_shape))}],
                "outputs": [{"format": f"logits of {model.num_classes} classes"}],
            },
            "quantitativeAnalysis": {"performanceMetrics": _metrics(report)},
            "considerations": {
                "technicalLimitations": limits_of(report),
                "ethicalConsiderations": [
                    {
                        "name": f"Backdoor scan: {words(report).title}",
                        "mitigationStrategy": words(report).advice,
                    }
                ],
            },
        },
        "properties": _properties(
            {
                "verdict": report.verdict,
                "backdoorScore": f"{report.backdoor_score:.6f}",
                "verdictReason": shown(report.verdict_reason, most=2000),
                "suspectedTargetLabels": ",".join(map(str, report.suspected_target_labels)),
                "sizeBytes": str(model.size_bytes or 0),
                "seed": str(report.seed),
                "preset": shown(report.config.get("preset", ""), most=40),
                "torch": shown(report.environment.get("torch", ""), most=40),
            }
        ),
    }


def _metrics(report: ScanReport) -> list[dict[str, Any]]:
    accuracy = report.accuracy
    metrics = [
        _metric("clean accuracy", accuracy.clean_before, "original", accuracy.interval_before),
        _metric("clean accuracy", accuracy.clean_after, "repaired", accuracy.interval_after),
    ]
    for value, part in (
        (accuracy.flip_rate_before, "original"),
        (accuracy.flip_rate_after, "repaired"),
    ):
        if value is not None:
            metrics.append(_metric("flip rate of the recovered trigger", value, part, []))
    return metrics


def _metric(kind: str, value: float, part: str, interval: list[float]) -> dict[str, Any]:
    metric: dict[str, Any] = {
        "type": kind,
        "value": f"{value:.4f}",
        "slice": f"{part} model, held-out clean images",
    }
    if len(interval) == 2:
        low, high = (f"{end:.4f}" for end in interval)
        metric["confidenceInterval"] = {"lowerBound": low, "upperBound": high}
    return metric


def _images(report: ScanReport) -> dict[str, Any]:
    clean = report.data.clean
    return {
        "type": "data",
        "bom-ref": _TRUSTED,
        "name": "clean images",
        "description": f"{clean.count} labelled images that the scan took as clean",
        "data": [{"type": "dataset", "name": "clean images"}],
        "properties": _properties(
            {"contentSha256": shown(clean.sha256, most=64), "count": str(clean.count)}
        ),
    }


def _repaired(run: RunFolder) -> list[dict[str, Any]]:
    path = run.path(run.report.files.get("repaired_model"))
    if path is None:
        return []
    return [
        {
            "type": "machine-learning-model",
            "bom-ref": _REPAIRED,
            "name": REPAIRED_NAME,
            "description": "The scanned model after the scan removed what it could; unchanged "
            "where it found nothing",
            **_hashes(file_sha256(path)),
            "pedigree": {
                "ancestors": [
                    {
                        "type": "machine-learning-model",
                        "name": shown(run.report.model.file_name or "model", most=200),
                        **_hashes(run.report.model.sha256),
                    }
                ]
            },
        }
    ]


def _vulnerability(item: RuledFinding) -> dict[str, Any]:
    finding, rule = item.finding, item.rule
    vulnerability: dict[str, Any] = {
        "bom-ref": f"finding-{item.number}",
        "id": rule.id,
        "source": {"name": "rnp"},
        "ratings": [
            {
                "source": {"name": "rnp"},
                "severity": _SEVERITY[finding.severity],
                "method": "other",
            }
        ],
        "description": shown(finding.message, most=2000),
        "detail": rule.summary,
        "recommendation": rule.advice,
        "affects": [{"ref": _MODEL}],
        "properties": _properties(
            {
                "stage": shown(finding.stage, most=60),
                "atlas": ",".join(rule.atlas),
                "owasp": ",".join(rule.owasp),
            }
        ),
    }
    if rule.cwe:
        vulnerability["cwes"] = [int(cwe.removeprefix("CWE-")) for cwe in rule.cwe]
    return vulnerability


def _hashes(sha256: str | None) -> dict[str, Any]:
    if sha256 is None or not _SHA256.fullmatch(sha256):
        return {}
    return {"hashes": [{"alg": "SHA-256", "content": sha256}]}


def _properties(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": f"rnp:{name}", "value": value} for name, value in values.items() if value]
