"""``report.json`` once more, read and written anew, so that it fits the published schema."""

from __future__ import annotations

from rnp_core.run_reader import RunFolder


def write_json(run: RunFolder) -> bytes:
    """The report as JSON; :func:`rnp_core.reports.json_schema.report_schema` describes it."""
    return run.report.to_json().encode("utf-8", "backslashreplace")
