"""Rows out of one report, and what differs between two."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from dashboard.wording import SEVERITIES
from rnp_core import ScanReport


def finding_rows(report: ScanReport) -> list[tuple[str, str, str]]:
    """(severity, stage, message) of the findings, the most severe first; untrusted text."""
    order = {name: place for place, name in enumerate(SEVERITIES)}
    found = sorted(report.findings, key=lambda row: order.get(row.severity, 9))
    return [(row.severity, row.stage, row.message) for row in found]


def conditions(report: ScanReport) -> dict[str, object]:
    """What a result depends on: inputs, versions, settings."""
    return {
        "file": {"name": report.model.file_name, "sha256": report.model.sha256},
        "clean images": {"count": report.data.clean.count, "sha256": report.data.clean.sha256},
        "normalisation": report.model.normalization.source,
        "version": report.tool_version,
        "environment": {name: value for name, value in report.environment.items()
                        if not isinstance(value, dict)},
        "settings": report.config,
    }


def settings_difference(first: Mapping, second: Mapping) -> pd.DataFrame:
    """Settings in which two scans differ: ``setting``, ``first``, ``second``."""
    left, right = _flat(first, ""), _flat(second, "")
    rows = [
        (name, str(left.get(name, "–")), str(right.get(name, "–")))
        for name in sorted(left.keys() | right.keys())
        if left.get(name, "–") != right.get(name, "–")
    ]
    return pd.DataFrame(rows, columns=["setting", "first", "second"])


def _flat(values: Mapping, prefix: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
