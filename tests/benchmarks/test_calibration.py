"""Scores of known models, from rows to the file in the package."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks.calibration import write_calibration
from benchmarks.rows import Row, append_row
from rnp_core.calibration import calibration_scores
from rnp_core.errors import ConfigError
from tests.benchmarks.test_tables import BLANK, CLEAN, row


def written(folder: Path, rows: list[Row]) -> list[dict[str, object]]:
    for one in rows:
        append_row(folder / "rows.jsonl", one)
    write_calibration([folder], folder / "calibration.json")
    found: list[dict[str, object]] = json.loads((folder / "calibration.json").read_text("utf-8"))
    return found


def test_known_models_get_the_score_of_the_first_seed(tmp_path: Path) -> None:
    others = [row(seed=1, score=0.2), row(clean_count=50, score=0.1)]
    found = written(tmp_path, [BLANK, *others, CLEAN])
    assert found == [
        {"name": "cifar10 c0", "status": "clean", "score": 0.05},
        {"name": "cifar10 m0", "status": "backdoored", "score": 0.97},
    ]


def test_what_is_in_doubt_is_left_out(tmp_path: Path) -> None:
    doubtful = [
        row(subject="weak", asr_before=0.3),
        row(subject="two-classes", verdict="inconclusive", score=0.02),
        dataclasses.replace(CLEAN, subject="repaired", control="repaired"),
        row(subject="failed", status="failed", score=None),
        row(subject="other", method="nc"),
    ]
    assert [r["name"] for r in written(tmp_path, [*doubtful, BLANK])] == ["cifar10 m0"]


def test_rows_without_a_known_model_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rows of our scan of known models"):
        written(tmp_path, [row(method="nc")])


def test_the_scores_in_the_package_are_of_both_kinds() -> None:
    scores = calibration_scores()
    assert {score.status for score in scores} == {"clean", "backdoored"}
    assert all(0 <= score.score <= 1 for score in scores)
