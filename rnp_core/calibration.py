"""Scores of known models, so that a reader sees where a scanned model lies among them."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Literal, NamedTuple


class CalibrationScore(NamedTuple):
    """Score of one known model by the standard preset."""

    score: float
    status: Literal["clean", "backdoored"]
    name: str


def calibration_scores() -> list[CalibrationScore]:
    """Scores of models whose state is known, lowest first; see ``docs/results.md`` for the runs.

    Verdicts do not depend on them. The settings were chosen on the same models, so a new model can
    lie anywhere between them.
    """
    text = files("rnp_core").joinpath("calibration.json").read_text(encoding="utf-8")
    rows = [CalibrationScore(row["score"], row["status"], row["name"]) for row in json.loads(text)]
    return sorted(rows)
