"""The PDF report: pages with numbers, a table of contents that is right, and nothing fetched."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from rnp_core.errors import ReportError
from rnp_core.reports import pdf, render_report
from rnp_core.run_reader import RunFolder
from tests.helpers.hostile_report import hostile_report, picture, write_example

try:
    import weasyprint  # noqa: F401
except (ImportError, OSError):  # OSError: Pango is missing
    pytest.skip("WeasyPrint or Pango is not installed", allow_module_level=True)
pypdfium2 = pytest.importorskip("pypdfium2")


def pages_of(data: bytes) -> list[str]:
    """The text of each page."""
    document = pypdfium2.PdfDocument(data)
    return [document[place].get_textpage().get_text_range() for place in range(len(document))]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = write_example(tmp_path_factory.mktemp("pdf") / "run", hostile_report())
    return pages_of(render_report(folder, "pdf"))


def test_every_page_has_its_number(pages: list[str]) -> None:
    assert len(pages) > 3
    for place, text in enumerate(pages, 1):
        assert f"Page {place} of {len(pages)}" in text


def test_the_contents_point_to_the_right_pages(pages: list[str]) -> None:
    lines = next(text for text in pages if "\r\nContents\r\n" in text).splitlines()
    titles = [line.partition(". ")[2] for line in lines if re.match(r"\d+\. ", line)]
    numbers = [int(line) for line in lines if line.isdecimal()]
    assert len(titles) == len(numbers) == 9
    for title, number in zip(titles, numbers, strict=True):
        assert title in pages[number - 1]


def test_the_verdict_and_hostile_names_are_text(pages: list[str]) -> None:
    assert "Backdoor found" in pages[0]
    assert "<script>alert(1)</script>" in pages[0]


def test_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture())
    connections = []
    monkeypatch.setattr("socket.socket.connect", lambda *args: connections.append(args))
    monkeypatch.setattr(
        pdf,
        "page",
        lambda run, paper: (
            f"<link rel=stylesheet href='http://127.0.0.1:9/a.css'><img src='{secret.as_uri()}'>"
            "<img src='https://127.0.0.1:9/a.png'><p>text</p>"
        ),
    )
    data = render_report(write_example(tmp_path / "run"), "pdf")
    assert pages_of(data) == ["text"]
    assert b"/Subtype /Image" not in data
    assert not connections


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    run = RunFolder.open(write_example(tmp_path / "run"))
    with pytest.raises(ReportError, match="pip install weasyprint"):
        pdf.write_pdf(run)
