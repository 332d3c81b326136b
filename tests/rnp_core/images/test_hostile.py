"""Hostile sources end as one clear refusal or a safe read, within time and memory."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from rnp_core.errors import DataError
from rnp_core.images import read_defense_set
from tests.rnp_core.images.hostile import CASES, Case
from tests.rnp_core.images.hostile_run import TABLE, outcome_line, run_case
from tests.rnp_core.images.pictures import good_members, random_pixels, write_zip

if not sys.platform.startswith("linux"):
    pytest.skip("measures memory through /proc", allow_module_level=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_source(case: Case, tmp_path: Path) -> None:
    row = run_case(case, tmp_path)
    assert row.outcome == case.outcome, row.text
    assert case.words in row.text
    assert row.text.isprintable()
    assert row.seconds < 15
    assert row.peak_mib < 250
    assert outcome_line(row) in TABLE.read_text(encoding="utf-8"), "run scripts.hostile_images"


@pytest.mark.parametrize("form", ["zip", "npz"])
def test_damaged_archives_are_read_or_refused_and_nothing_else(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{form}"
    if form == "zip":
        write_zip(path, good_members(per_class=11, side=2))
    else:
        np.savez(path, x=random_pixels(1, 22, 2, 2, 3), y=np.arange(22) % 2)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for at in random.integers(0, len(data), 4):
            data[at] = random.integers(0, 256)
        path.write_bytes(data)
        try:
            read_defense_set(path, channels=3, size=2)
        except DataError as error:
            refused += 1
            assert str(error).isprintable()
    assert refused > 10


def test_there_are_enough_cases_and_names_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40
