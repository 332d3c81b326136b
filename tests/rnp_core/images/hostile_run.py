"""Reading a hostile source in a bounded child process, and the table of what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rnp_core.errors import DataError
from rnp_core.images import read_defense_set
from tests.helpers.bounded import run_bounded
from tests.rnp_core.images.hostile import READ, REFUSED, Case

TABLE = Path(__file__).resolve().parents[3] / "docs" / "hostile-images.md"

_HEAD = """# Hostile images: what happens with each

Every source below is built by `tests/rnp_core/images/hostile.py` when the tests run; none is stored
here. Each is read as a clean set with the default limits (`rnp_core.images.ImageLimits`), in a
child process with 1 GiB of extra memory and 30 seconds. Archives are never extracted to disk. Most
hold 30 good images of two classes besides the hostile part: "read without it" means that the good
ones came out, and the reason is in the warnings. When more than a tenth of the images is broken,
the whole source is refused. Write this page anew with `python -m scripts.hostile_images`;
`tests/rnp_core/images/test_hostile.py` checks its outcomes.

How ordinary but odd images are read: only PNG, JPEG, BMP, GIF, WebP, TIFF and PPM, decided by
content; the first frame of an animation; upright by the EXIF orientation; transparency dropped, so
the stored colours are read, as torchvision's loader does; 16 bit scaled to 8 bit; palettes and CMYK
as RGB; floating point and 32 bit pixels are broken, as their range is unknown. Resizing stretches
to the square that the model takes. Class folders are matched by class name; else folders with
numbers for names (`00000`, `00001`, ...) are class indices counted from 0; else the sorted
order counts.
"""


@dataclass(frozen=True)
class Row:
    """One line of the table, and what the reading cost."""

    name: str
    outcome: str
    text: str
    seconds: float
    peak_mib: float


def run_case(case: Case, folder: Path) -> Row:
    """Build and read one case."""
    path = case.build(folder)

    def read() -> list[str]:
        try:
            found = read_defense_set(path, channels=None, size=None)
        except DataError as error:
            return [REFUSED, str(error)]
        good = (found.images.labels < 2).sum() >= 29
        return [READ if good else "lost good images", "; ".join(found.warnings)]

    result = run_bounded(read, seconds=30, memory_mib=1024)
    outcome, text = result.value or ["died", f"signal {result.signal}"]
    text = text.replace(f"{folder}/", "")
    return Row(case.name, outcome, text, result.seconds, result.peak_mib)


def outcome_line(row: Row) -> str:
    """The part of a table line that does not depend on the versions of Python and Pillow."""
    return f"| {row.name} | {row.outcome} |"


def _table_line(row: Row) -> str:
    reason = row.text.replace("|", "\\|").replace("`", "'")[:200]
    return f"{outcome_line(row)} {reason} |"


def render(rows: Sequence[Row]) -> str:
    """The page."""
    outcomes = Counter(row.outcome for row in rows)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
    slowest = max(rows, key=lambda row: row.seconds)
    largest = max(rows, key=lambda row: row.peak_mib)
    lines = [
        _HEAD,
        f"{len(rows)} sources: {counts}. Slowest: {slowest.seconds:.1f} s ({slowest.name}); "
        f"most memory: {largest.peak_mib:.0f} MiB ({largest.name}).",
        "",
        "| Source | Outcome | Reason given |",
        "| --- | --- | --- |",
        *(_table_line(row) for row in rows),
    ]
    return "\n".join(lines) + "\n"
