"""Scores of known models for the calibration strip."""

from __future__ import annotations

from rnp_core import calibration_scores


def calibration() -> list[tuple[float, str, str]]:
    """(score, "clean" or "backdoored", name) of each known model; empty where none was measured."""
    try:
        return [(row.score, row.status, row.name) for row in calibration_scores()]
    except FileNotFoundError:
        return []
