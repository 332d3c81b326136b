"""The forms of a report by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from rnp_core.errors import ReportError
from rnp_core.run_reader import RunFolder


@dataclass(frozen=True)
class ReportFormat:
    """One form of a report.

    Attributes:
        name: as on the command line.
        title: for people.
        ending: of the file name, with its dot.
        mime: media type.
        place: module and function of ``rnp_core.reports`` that writes it.
    """

    name: str
    title: str
    ending: str
    mime: str
    place: tuple[str, str]

    def write(self, run: RunFolder) -> bytes:
        """The report of ``run`` in this form.

        Raises:
            ReportError: when a package that this form needs is missing.
        """
        module, function = self.place
        writer: Callable[[RunFolder], bytes] = getattr(
            import_module(f"rnp_core.reports.{module}"), function
        )
        return writer(run)


FORMATS = {
    entry.name: entry
    for entry in (
        ReportFormat("html", "HTML", ".html", "text/html", ("html", "write_html")),
        ReportFormat("pdf", "PDF", ".pdf", "application/pdf", ("pdf", "write_pdf")),
        ReportFormat("json", "JSON", ".json", "application/json", ("json_report", "write_json")),
        ReportFormat(
            "sarif", "SARIF 2.1.0", ".sarif", "application/sarif+json", ("sarif", "write_sarif")
        ),
        ReportFormat(
            "mlbom",
            "CycloneDX ML-BOM",
            ".cdx.json",
            "application/vnd.cyclonedx+json",
            ("mlbom", "write_mlbom"),
        ),
        ReportFormat("card", "Model card section", ".md", "text/markdown", ("card", "write_card")),
    )
}
"""Every form by name."""


def render_report(folder: Path, form: str) -> bytes:
    """The report of a run folder in one of :data:`FORMATS`.

    Raises:
        ReportError: for an unknown form, a folder without a report, or a missing package.
    """
    if form not in FORMATS:
        raise ReportError(f"expected a format among {', '.join(FORMATS)}, got {form!r}")
    return FORMATS[form].write(RunFolder.open(folder))
