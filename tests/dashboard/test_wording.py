"""Words: every verdict has them, nothing says "clean", untrusted text stays text."""

from __future__ import annotations

import re
import typing

import pytest

from dashboard import wording
from rnp_core import DISPOSITIONS, preset_config
from rnp_core.jobs import JOB_STATES
from rnp_core.pipeline import STAGES
from rnp_core.report import Severity, Verdict
from tests.helpers.hostile_report import HOSTILE_NAMES


def test_everything_that_the_engine_says_has_words() -> None:
    assert set(wording.VERDICTS) == set(wording.VERDICT_SHORT) == set(typing.get_args(Verdict))
    assert set(wording.STATE_WORDS) == set(JOB_STATES)
    assert [name for name, _, _ in wording.STAGES] == ["load", *STAGES]
    assert set(wording.DISPOSITIONS) == set(DISPOSITIONS)
    assert set(wording.SEVERITIES) == set(typing.get_args(Severity))
    for name in wording.PRESETS:
        preset_config(name)


def test_no_verdict_says_that_a_model_is_clean() -> None:
    for name, words in wording.VERDICTS.items():
        assert "is clean" not in words.title and "safe" not in words.title
        if name == "no_evidence":
            assert "not a proof" in words.meaning


def test_colour_is_never_the_only_sign() -> None:
    for table in (wording.VERDICTS.values(),):
        icons = [words.icon for words in table]
        assert len(set(icons)) == len(icons)


@pytest.mark.parametrize("text", HOSTILE_NAMES)
def test_untrusted_text_is_taken_literally(text: str) -> None:
    shown = wording.plain(text)
    assert not re.search(r"(?<!\\)[<>\[\]`*_$]", shown)
    assert "\n" not in shown and len(shown) <= 700
    chart = wording.chart_text(text)
    assert "<" not in chart and ">" not in chart


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.5, "50 %"), (0.0, "0 %"), (1.0, "100 %")],
)
def test_shares(value: float | None, text: str) -> None:
    assert wording.percent(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (59.7, "1 min 0 s")]
)
def test_time_spans(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(None, "0 bytes"), (999, "999 bytes"), (1_500, "1.5 KB"),
                        (2_000_000, "2.0 MB"), (3_100_000_000, "3.1 GB")],
)
def test_sizes(count: int | None, text: str) -> None:
    assert wording.size(count) == text


def test_labels_have_their_names() -> None:
    assert wording.label_name(1, ["a", "b"]) == "1 (b)"
    assert wording.label_name(1, ["0", "1"]) == "1"
    assert wording.label_name(7, []) == "7"


def test_nouns_follow_their_number() -> None:
    assert wording.count(1, "filter") == "1 filter"
    assert wording.count(1200, "class", "classes") == "1,200 classes"
