"""The command lines that repeat a scan."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from rnp_core.report import ScanReport
from rnp_core.reports.text import shown

_OPTIONS = (
    ("clean", "--clean"),
    ("suspects", "--suspects"),
    ("arch", "--arch"),
    ("num_classes", "--num-classes"),
    ("preset", "--preset"),
    ("seed", "--seed"),
    ("device", "--device"),
    ("precision", "--precision"),
    ("threads", "--threads"),
)


def scan_command(report: ScanReport) -> str | None:
    """The scan as a command, an option a line; None for a scan of a model in memory.

    Class names were in a file that the report does not hold: ``NAMES_FILE`` stands for it.
    """
    request = report.request
    if request is None:
        return None
    lines = [["rnp", "scan", str(request.get("checkpoint"))], ["--out", "NEW_FOLDER"]]
    for name, option in _OPTIONS:
        value = request.get(name)
        if value is not None and value != "auto":
            lines.append([option, str(value)])
    if request.get("class_names"):
        lines.append(["--class-names", "NAMES_FILE"])
    for limit in request.get("limits") or ():
        lines.append(["--limit", str(limit)])
    lines += _normalization(request)
    if request.get("repair") is False:
        lines.append(["--no-repair"])
    return " \\\n  ".join(shown(shlex.join(line), most=1000) for line in lines)


def _normalization(request: Mapping[str, Any]) -> list[list[str]]:
    mean, std = request.get("mean"), request.get("std")
    if isinstance(mean, list) and isinstance(std, list):
        return [
            ["--mean", ",".join(str(value) for value in mean)],
            ["--std", ",".join(str(value) for value in std)],
        ]
    name = request.get("normalization")
    return [] if name in (None, "auto") else [["--normalization", str(name)]]
