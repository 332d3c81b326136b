"""How good the estimate of the time left is, on the demo models; other work would disturb it.

``python -m pytest -m slow tests/slow/test_time_left.py -s`` prints, for each model, the estimate
over the truth after unlearning and after the margins.
"""

from __future__ import annotations

import statistics
import time

import pytest

from rnp_core.demo import list_demos
from rnp_core.pipeline import scan
from rnp_core.progress import Progress
from rnp_core.scan_clock import SECONDS_LEFT
from rnp_core.subject import load_subject

pytestmark = pytest.mark.slow


def test_the_time_left_is_known_within_a_quarter_after_the_first_stage() -> None:
    errors = []
    for demo in list_demos():
        subject = load_subject(demo.checkpoint, demo.clean, suspects_path=demo.suspects)
        estimates: dict[str, tuple[float, float]] = {}  # of the first report of each stage

        def note(progress: Progress, seen: dict[str, tuple[float, float]] = estimates) -> None:
            left = progress.values.get(SECONDS_LEFT)
            if isinstance(left, float):
                seen.setdefault(progress.stage, (time.perf_counter(), left))

        suspects = subject.suspects.images if subject.suspects else None
        scan(subject.model, subject.clean.images, suspects=suspects, on_progress=note)
        end = time.perf_counter()
        ratios = {stage: left / (end - moment) for stage, (moment, left) in estimates.items()}
        print(demo.name, {stage: round(ratio, 2) for stage, ratio in ratios.items()})  # noqa: T201
        errors.append(abs(ratios["recover"] - 1))
    assert statistics.median(errors) <= 0.25
