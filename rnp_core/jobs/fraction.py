"""How much of a scan is done, from the stage that runs; an estimate for progress bars."""

from __future__ import annotations

from rnp_core.progress import Progress

_SHARES = {
    "load": 0.05,
    "unlearn": 0.10,
    "recover": 0.15,
    "margins": 0.05,
    "triggers": 0.45,
    "target label": 0.01,
    "removal": 0.10,
    "samples": 0.04,
    "attributions": 0.05,
}
"""Usual share of each stage in the time of a scan, in running order."""


def finished_fraction(progress: Progress) -> float:
    """Finished share of a whole scan, in [0, 1); 0 for a stage that is unknown."""
    before = 0.0
    for stage, share in _SHARES.items():
        if stage == progress.stage:
            inside = min(1.0, progress.step / progress.total) if progress.total > 0 else 0.0
            return before + share * max(0.0, inside)
        before += share
    return 0.0
