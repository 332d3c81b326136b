"""The report as PDF, laid out by WeasyPrint from the same source as the HTML."""

from __future__ import annotations

from rnp_core.errors import ReportError
from rnp_core.reports.html import page
from rnp_core.run_reader import RunFolder


def write_pdf(run: RunFolder) -> bytes:
    """The report on A4 pages with a table of contents, page numbers and still drawings.

    Nothing is fetched from the network or from other files while it is laid out.

    Raises:
        ReportError: when WeasyPrint or the system libraries that it needs are not installed.
    """
    try:
        from weasyprint import HTML
        from weasyprint.urls import URLFetcher
    except (ImportError, OSError) as error:
        raise ReportError(
            "a PDF report needs WeasyPrint 66 or newer and the Pango library; install them with: "
            f"pip install weasyprint (and libpango from your system): {error}"
        ) from error

    fetcher = URLFetcher(allowed_protocols=("data",), allow_redirects=False)
    pages = HTML(string=page(run, paper=True), url_fetcher=fetcher)
    return pages.write_pdf(optimize_images=False)
