"""Whether the cheap evidence of a fleet ranks: the shared checkpoints and the demo models.

Run with ``python -m pytest -m slow tests/slow/test_triage_ranks.py -s``; five minutes on one idle
core. ``RNP_TRIAGE_SEED`` changes the seed of the scans.
"""

# ruff: noqa: T201  (figures for docs/fleet.md)

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.subjects import NO_ATTACK, read_shared
from rnp_core.jobs.triage import triage_request
from rnp_core.metrics import auroc
from rnp_core.request import ScanRequest
from tests.helpers.shared import SHARED, needs_shared

SEED = int(os.environ.get("RNP_TRIAGE_SEED", "0"))
DEMO = Path(__file__).parents[2] / "assets" / "demo"


def subjects(folder: Path) -> Iterator[tuple[str, bool, Path, Path]]:
    """Name, whether it has a backdoor, checkpoint, and 500 clean images (demo: all 600)."""
    assert SHARED is not None
    for subject in read_shared(SHARED, images=folder):
        yield subject.name, subject.attack != NO_ATTACK, subject.checkpoint, subject.clean
    for path in sorted((DEMO / "models").glob("*.safetensors")):
        yield f"demo:{path.stem}", "clean" not in path.stem, path, DEMO / "clean.npz"


@pytest.mark.slow
@pytest.mark.timeout(7200)
@needs_shared
def test_backdoored_models_come_first(tmp_path: Path) -> None:
    rows = []
    for name, backdoored, checkpoint, clean in subjects(tmp_path):
        start = time.process_time()
        request = ScanRequest(
            str(checkpoint), str(clean), str(tmp_path / name), seed=SEED, threads=1
        )
        result = triage_request(request, on_progress=lambda progress: None)
        rows.append((result["score"], backdoored, name, time.process_time() - start))
    rows.sort(reverse=True)
    for score, backdoored, name, seconds in rows:
        print(f"{score:.2f}  {'backdoored' if backdoored else 'clean':10}  {name}  {seconds:.1f} s")
    truth = np.array([row[1] for row in rows])
    area = auroc(np.array([row[0] for row in rows]), truth)
    first = int(np.argmin(truth)) + 1
    print(f"AUROC {area:.2f}; the first clean model is at rank {first} of {len(rows)}")
    assert area > 0.75 and first > len(rows) // 4
