"""Other people's text made fit to be shown, and the commands that repeat a scan."""

from __future__ import annotations

import dataclasses

import pytest

from rnp_core.reports.command import scan_command
from rnp_core.reports.figures import label_name
from rnp_core.reports.text import markdown, percent, relative_uri, shown, size
from rnp_core.request import ScanRequest
from tests.helpers.reports import example_report


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stop sign", "stop sign"),
        ("قف", "قف"),
        ("a\nb\r\n\tc", "a\\nb\\r\\n\\tc"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\x00\x1b[31m", "\\u0000\\u001b[31m"),
        ("\ud800", "\\ud800"),
        ("line\u2028break", "line\\u2028break"),
    ],
)
def test_what_cannot_be_seen_becomes_visible(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_markdown_makes_no_link_of_an_address_and_leaves_plain_text_alone() -> None:
    assert markdown("see https://example.org") == r"see https\://example.org"
    assert markdown("2026-01-01T00:00:00+00:00 (a)") == "2026-01-01T00:00:00+00:00 (a)"


def test_long_text_ends_in_an_ellipsis() -> None:
    assert shown("x" * 1000, most=10) == "x" * 9 + "…"
    assert len(shown("\x00" * 1000, most=10)) == 10
    assert shown("x" * 10, most=10) == "x" * 10


def test_markdown_keeps_markup_as_text() -> None:
    text = markdown("[a](b) `c` **d** <e> | f")
    assert text == r"\[a\](b) \`c\` \*\*d\*\* &lt;e\> \| f"


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("models/a b.pth", "models/a%20b.pth"),
        ("/home/someone/model.pth", "name.pth"),
        ("../../etc/passwd", "name.pth"),
        ("C:\\models\\m.pth", "name.pth"),
        ("https://example.org/m.pth", "name.pth"),
        (None, "name.pth"),
    ],
)
def test_uris_stay_inside(path: str | None, uri: str) -> None:
    assert relative_uri(path, "name.pth") == uri


def test_numbers_for_people() -> None:
    assert [percent(v) for v in (None, 0.0, 0.004, 0.5, 0.996, 1.0)] == [
        "–", "0%", "0.4%", "50%", "99.6%", "100%",
    ]
    assert [size(v) for v in (None, 12, 1_300_000)] == ["unknown", "12 bytes", "1.3 MB"]


def test_a_name_from_right_to_left_leaves_the_number_in_front() -> None:
    report = example_report()
    names = ["قف", "1"]
    report = dataclasses.replace(
        report, model=dataclasses.replace(report.model, class_names=names)
    )
    assert label_name(report, 0) == "0 (\u2068قف\u2069)"
    assert label_name(report, 1) == "1"
    assert label_name(report, 7) == "7"


def test_the_command_is_that_of_the_scan() -> None:
    assert scan_command(example_report()) is None
    request = ScanRequest(
        "my model.pth", "clean", "out", preset="quick", seed=3, repair=False,
        mean=(0.5,), std=(0.25,), class_names=("a", "b"),
    )
    report = dataclasses.replace(example_report(), request=request.to_dict())
    report = type(report).from_dict(report.to_dict())
    command = scan_command(report)
    assert command is not None
    assert command.splitlines()[1] == "  --out NEW_FOLDER \\"
    assert command.replace(" \\\n  ", " ") == (
        "rnp scan 'my model.pth' --out NEW_FOLDER --clean clean --preset quick --seed 3 "
        "--class-names NAMES_FILE --mean 0.5 --std 0.25 --no-repair"
    )
