"""Words: every verdict has them, nothing says "clean"."""

from __future__ import annotations

import typing

from dashboard import wording
from rnp_core import DISPOSITIONS
from rnp_core.jobs import JOB_STATES
from rnp_core.pipeline import STAGES
from rnp_core.report import Severity, Verdict


def test_everything_that_the_engine_says_has_words() -> None:
    assert set(wording.VERDICTS) == set(wording.VERDICT_SHORT) == set(typing.get_args(Verdict))
    assert set(wording.STATE_WORDS) == set(JOB_STATES)
    assert [name for name, _, _ in wording.STAGES] == ["load", *STAGES]
    assert set(wording.DISPOSITIONS) == set(DISPOSITIONS)
    assert set(wording.SEVERITIES) == set(typing.get_args(Severity))


def test_no_verdict_says_that_a_model_is_clean() -> None:
    for name, words in wording.VERDICTS.items():
        assert "is clean" not in words.title and "safe" not in words.title
        if name == "no_evidence":
            assert "not a proof" in words.meaning


def test_colour_is_never_the_only_sign() -> None:
    for table in (wording.VERDICTS.values(),):
        icons = [words.icon for words in table]
        assert len(set(icons)) == len(icons)
