"""The HTML report as text: whole, bounded, escaped, and loading nothing."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from rnp_core import report as r
from rnp_core.errors import ReportError
from rnp_core.reports import render_report
from rnp_core.reports.charts import plotly_script
from rnp_core.reports.html import page
from rnp_core.run_folder import write_run
from rnp_core.run_reader import RunFolder
from tests.helpers.hostile_report import (
    failed_report,
    hostile_report,
    with_suspects,
    write_example,
)
from tests.helpers.reports import example_report


class Elements(HTMLParser):
    """Start tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._raw = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._raw else data


def html(folder: Path, report: r.ScanReport) -> str:
    """The report without Plotly's script, which is slow to parse."""
    run = RunFolder.open(write_example(folder / "run", report))
    return page(run, paper=False)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without plotly, as where it is not installed."""
    monkeypatch.setattr("rnp_core.reports.html.plotly_script", lambda: None)


@pytest.mark.usefixtures("still")
def test_the_verdict_comes_first(tmp_path: Path) -> None:
    text = Elements(html(tmp_path, example_report())).text
    places = [
        text.index(part)
        for part in (
            "Backdoor found", "Do not use the model as it is", "1 (b)", "Contents",
            "Findings and what to do", "Evidence for each label", "Recovered triggers", "Removal",
            "Suspect images", "Attributions", "How the scan went", "Limits",
            "SHA-256",
        )
    ]
    assert places[:4] == sorted(places[:4])
    titles = re.findall(r"<h2 id=\"(\w+)\"", html(tmp_path / "again", example_report()))
    assert titles == [
        "verdict", "contents", "findings", "labels", "triggers", "removal", "suspects",
        "attributions", "stages", "limits", "reproduce",
    ]


@pytest.mark.usefixtures("still")
def test_findings_carry_their_rule_and_advice(tmp_path: Path) -> None:
    finding = r.Finding("critical", "target label", "Label 1.", {"label": 1}, "RNP001")
    report = dataclasses.replace(example_report(), findings=[finding])
    text = Elements(html(tmp_path, report)).text
    for part in ("RNP001", "AML.T0018.000", "Poison AI Model", "ML10", "CWE-506", "What to do:"):
        assert part in text


@pytest.mark.usefixtures("still")
def test_a_trigger_names_the_classes_that_it_is_for(tmp_path: Path) -> None:
    report = example_report()
    some = dataclasses.replace(report.triggers[0], kind="source-specific", sources=[0])
    many = dataclasses.replace(some, sources=[0] * 15)
    plain, named, cut = (
        Elements(html(tmp_path / name, dataclasses.replace(report, triggers=[row]))).text
        for name, row in (("plain", report.triggers[0]), ("some", some), ("many", many))
    )
    assert "of other classes to the label" in " ".join(plain.split())
    assert "images of the classes 0" in " ".join(named.split())
    assert "and 3 more to the label" in " ".join(cut.split()) and "more to" not in named


@pytest.mark.usefixtures("still")
def test_hostile_names_are_text(tmp_path: Path) -> None:
    found = Elements(html(tmp_path, hostile_report()))
    assert "<script>alert(1)</script>" in found.text
    assert "\\u202egnp.exe" in found.text
    assert "two\\nlines" in found.text
    assert not re.search(r"[\x00-\x08\x1b\u202a-\u202e\u2066\u2067\u200b\ud800-\udfff]", found.text)
    assert not [tag for tag, _ in found.tags if tag in ("script", "iframe", "object", "link")]
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/png;base64,", "#")), value
    assert len(max(found.text.split("\n"), key=len)) < 4000


def test_scripts_are_named_by_the_policy_and_come_once(tmp_path: Path) -> None:
    if plotly_script() is None:
        pytest.skip("plotly is not installed")
    text = html(tmp_path, hostile_report())
    assert text.count("<script>") == 2
    assert text.count('type="application/json"') == 1
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'")
    assert policy[1].count("sha256-") == 2
    data = text[text.index('id="chart-data">') :].partition("</script>")[0]
    assert "<script" not in data.partition(">")[2]


@pytest.mark.parametrize("count", [0, 1, 2000])
@pytest.mark.usefixtures("still")
def test_any_number_of_suspects(tmp_path: Path, count: int) -> None:
    found = Elements(html(tmp_path, with_suspects(count)))
    pictures = [a for tag, a in found.tags if tag == "img" and "thumb" in str(a.get("class"))]
    assert len(pictures) == min(count, 48)
    expected = {
        0: "No suspect images were given",
        1: "1 of 1 image is flagged",
        2000: "667 of 2,000 images are flagged",
    }
    assert expected[count] in found.text
    assert ("1,880 more images are not shown" in found.text) == (count == 2000)


@pytest.mark.usefixtures("still")
def test_failed_stages_are_named_beside_the_verdict(tmp_path: Path) -> None:
    text = " ".join(Elements(html(tmp_path, failed_report())).text.split())
    assert "Inconclusive" in text
    assert "Failed: unlearn." in text
    assert "In this scan a stage failed (unlearn)" in text
    assert "There is no evidence for single labels" in text
    assert "Backdoor found" not in text


def test_it_stays_below_ten_megabytes_whatever_the_scan(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    quotes = '"<&' * 320
    report = with_suspects(2000)
    rows = [dataclasses.replace(row, id=f"{row.index}{quotes[:90]}") for row in report.samples]
    noise = {"index": np.arange(2000), "x": rng.integers(0, 255, (2000, 64, 64, 3), np.uint8)}
    finding = r.Finding("high", "file", quotes, {f"{i}{quotes}": quotes for i in range(13)})
    label = example_report().labels[0]
    report = dataclasses.replace(
        report,
        samples=rows,
        findings=[finding] * 70,
        labels=[dataclasses.replace(label, label=i, name=quotes) for i in range(60)],
        model=dataclasses.replace(report.model, class_names=[quotes] * 60, num_classes=60),
        pruned_filters=[r.FilterRow(quotes, i, 0.0, 0.0) for i in range(210)],
        stages=[r.StageRow(quotes, "failed", 1.0, quotes)] * 50,
        config={f"{i}{quotes}": quotes for i in range(90)},
        curves=dataclasses.replace(
            report.curves, filter_masks={f"{i}{quotes}": [0.5] * 100 for i in range(100)}
        ),
        files={**report.files, "suspect_thumbnails": "suspects.npz"},
    )
    write_run(tmp_path / "run", report, pictures={}, repaired_state={}, thumbnails=noise)
    assert len(render_report(tmp_path / "run", "html")) < 10_000_000


@pytest.mark.usefixtures("still")
def test_pictures_outside_the_folder_or_broken_are_left_out(tmp_path: Path) -> None:
    report = example_report()
    outside = tmp_path / "secret.png"
    write_example(tmp_path / "run", report)
    outside.write_bytes((tmp_path / "run" / "m.png").read_bytes())
    (tmp_path / "run" / "m.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    text = (tmp_path / "run" / "report.json").read_text(encoding="utf-8")
    text = text.replace('"v.png"', '"../secret.png"')
    (tmp_path / "run" / "report.json").write_text(text, encoding="utf-8")
    found = page(RunFolder.open(tmp_path / "run"), paper=False)
    assert found.count("no picture") == 2


@pytest.mark.parametrize(
    ("index", "pixels"),
    [
        (np.array(["a", "b"]), np.zeros((2, 4, 4, 3), np.uint8)),
        (np.array([0.5, np.nan]), np.zeros((2, 4, 4, 3), np.uint8)),
        (np.arange(2), np.zeros((2, 0, 4, 3), np.uint8)),
        (np.arange(2), np.zeros((2, 4, 4, 3))),
        (np.arange(2), np.array([{}, {}], dtype=object)),
    ],
    ids=["texts", "fractions", "empty", "floats", "objects"],
)
@pytest.mark.usefixtures("still")
def test_odd_thumbnails_are_left_out(
    tmp_path: Path, index: np.ndarray, pixels: np.ndarray
) -> None:
    folder = write_example(tmp_path / "run", with_suspects(2))
    np.savez(folder / "suspects.npz", index=index, x=pixels)
    assert "no picture" in page(RunFolder.open(folder), paper=False)


@pytest.mark.usefixtures("still")
def test_values_of_the_wrong_kind_are_an_error_and_no_crash(tmp_path: Path) -> None:
    write_example(tmp_path / "run")
    text = (tmp_path / "run" / "report.json").read_text(encoding="utf-8")
    text = text.replace('"backdoor_score": 0.9', '"backdoor_score": "high"')
    (tmp_path / "run" / "report.json").write_text(text, encoding="utf-8")
    with pytest.raises(ReportError, match="expected a number at report.backdoor_score"):
        render_report(tmp_path / "run", "html")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_example(tmp_path / "run")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ReportError, match="pip install jinja2"):
        render_report(tmp_path / "run", "html")


def test_no_torch_in_memory(tmp_path: Path) -> None:
    write_example(tmp_path / "run")
    code = (
        "import sys; from pathlib import Path\n"
        "from rnp_core.reports import render_report\n"
        "render_report(Path(sys.argv[1]), 'html')\n"
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    assert subprocess.run(command, check=False).returncode == 0
