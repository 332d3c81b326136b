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
    ("threads", "--threads"),
)


def scan_command(report: ScanReport) -> str | None:
    """The scan as a command line; None for a scan of a model in memory.

    Class names were in a file that the report does not hold: ``NAMES_FILE`` stands for it.
    """
    request = report.request
    if request is None:
        return None
    parts = ["rnp", "scan", str(request.get("checkpoint")), "--out", "NEW_FOLDER"]
    for name, option in _OPTIONS:
        value = request.get(name)
        if value is not None and value != "auto":
            parts += [option, str(value)]
    if request.get("class_names"):
        parts += ["--class-names", "NAMES_FILE"]
    parts += _normalization(request)
    if request.get("repair") is False:
        parts.append("--no-repair")
    return shown(" ".join(shlex.quote(part) for part in parts), most=2000)


def _normalization(request: Mapping[str, Any]) -> list[str]:
    mean, std = request.get("mean"), request.get("std")
    if isinstance(mean, list) and isinstance(std, list):
        return [
            "--mean", ",".join(str(value) for value in mean),
            "--std", ",".join(str(value) for value in std),
        ]
    name = request.get("normalization")
    return [] if name in (None, "auto") else ["--normalization", str(name)]
