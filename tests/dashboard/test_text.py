"""Numbers, times and names as text; untrusted text stays text."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from dashboard import text
from dashboard.requests import command
from rnp_core import RnpError, ScanRequest, cli
from tests.helpers.hostile_report import HOSTILE_NAMES, HOSTILE_SOURCES


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_untrusted_text_is_taken_literally(name: str) -> None:
    shown = text.plain(name)
    assert not re.search(r"(?<!\\)[<>\[\]`*_$]", shown)
    assert "\n" not in shown and len(shown) <= 700
    chart = text.chart_text(name)
    assert "<" not in chart and ">" not in chart


def test_of_many_labels_the_first_are_named() -> None:
    assert text.label_names([0, 1], ["stop", "1"]) == "0 (stop), 1"
    assert text.label_names(HOSTILE_SOURCES, ["stop"], most=3) == (
        "0 (stop), 1, any other class and others"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.5, "50%"), (0.0, "0%"), (1.0, "100%")],
)
def test_shares(value: float | None, shown: str) -> None:
    assert text.percent(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(3, "3 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (59.7, "1 min 0 s")]
)
def test_time_spans(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(None, "0 bytes"), (999, "999 bytes"), (1_500, "1.5 KB"),
                        (2_000_000, "2.0 MB"), (3_100_000_000, "3.1 GB")],
)
def test_sizes(count: int | None, shown: str) -> None:
    assert text.size(count) == shown


def test_labels_have_their_names() -> None:
    assert text.label_name(1, ["a", "b"]) == "1 (b)"
    assert text.label_name(1, ["0", "1"]) == "1"
    assert text.label_name(7, []) == "7"


def test_nouns_follow_their_number() -> None:
    assert text.count(1, "filter") == "1 filter"
    assert text.count(1200, "class", "classes") == "1,200 classes"


def test_the_command_line_of_a_scan_keeps_every_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ScanRequest(
        "a model.pt", "clean.zip", "run", suspects="suspects.npz", arch="resnet18-cifar",
        num_classes=3, class_names=("stop", "no entry", "yield"), normalization="half",
        mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), preset="thorough", seed=7, repair=False,
        device="cpu", precision="float32", threads=2, limits=("images.image_pixels=50e6",),
        force=True,
    )
    for field in dataclasses.fields(ScanRequest):
        assert getattr(asked, field.name) != field.default, f"{field.name} is not tried here"
    found: list[ScanRequest] = []

    def keep(request: ScanRequest, *_: Any) -> None:
        found.append(request)
        raise RnpError("not to be run")

    monkeypatch.setattr(cli, "_recorded", keep)
    monkeypatch.chdir(tmp_path)
    Path("NAMES_FILE").write_text("\n".join(asked.class_names or ()), encoding="utf-8")
    cli.main(shlex.split(command(asked))[1:])
    assert found == [dataclasses.replace(asked, out="NEW_FOLDER", force=False)]
