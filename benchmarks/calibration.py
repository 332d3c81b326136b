"""The scores of known models that every report shows: from rows of the benchmark to the package."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.metrics import is_backdoored, is_clean
from benchmarks.rows import ROWS_NAME, read_rows
from benchmarks.summary import MAIN_COUNT, standard_rows
from rnp_core.errors import ConfigError

CALIBRATION = Path(__file__).resolve().parents[1] / "rnp_core" / "calibration.json"


def write_calibration(folders: Sequence[Path], out: Path = CALIBRATION) -> int:
    """Write name, status and score of every model whose state is beyond doubt; returns how many.

    Taken are rows of our scan by the standard preset with the usual number of clean images and the
    lowest seed. Models that were repaired in part, whose trigger works on less than half of the
    images, or whose verdict is inconclusive are left out.

    Raises:
        ConfigError: when the rows hold no such model.
    """
    rows = standard_rows(read_rows(folder / ROWS_NAME for folder in folders))
    rows = [row for row in rows if row.status == "done" and row.clean_count == MAIN_COUNT]
    found = {}
    for row in sorted(rows, key=lambda row: row.seed, reverse=True):
        known = is_backdoored(row) or is_clean(row)
        if known and row.score is not None and row.verdict != "inconclusive":
            status = "backdoored" if is_backdoored(row) else "clean"
            name = f"{row.part} {row.subject}"
            found[name] = {"name": name, "status": status, "score": round(row.score, 3)}
    if not found:
        names = ", ".join(map(str, folders))
        raise ConfigError(f"expected rows of our scan of known models in {names}, got none")
    text = json.dumps([found[name] for name in sorted(found)], indent=1)
    out.write_text(text + "\n", encoding="utf-8")
    return len(found)
