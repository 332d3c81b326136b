"""The table of outcomes of the hostile corpus, as the documentation shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.helpers.hostile_run import Row

TABLE = Path(__file__).resolve().parents[2] / "docs" / "hostile-checkpoints.md"

_HEAD = """# Hostile checkpoints: what happens with each

Every file below is built by `tests/helpers/hostile_pickles.py` and `tests/helpers/hostile_files.py`
when the tests run; none is stored here. Each is inspected and loaded with the default limits, in a
child process with 1.5 GiB of extra memory and 60 seconds. A canary file, an audit hook (programs,
sockets, full unpickling, loaded libraries) and the list of imported modules prove that nothing in
it ran. Write this page anew with `python -m scripts.hostile_checkpoints`;
`tests/rnp_core/checkpoints/test_hostile.py` checks its outcomes.

Fuzzing of the same readers, and of those of image archives (zip and npz), guided by the lines that
a mutant reaches: `python -m tests.fuzz --minutes 66 --seed 4 --keep FOLDER`. It starts from files
of every layout (zip, legacy, safetensors), this corpus, archives of all image types, and hostile
sources of [hostile-images.md](hostile-images.md). On 27 November 2026, 63 minutes (3,774 s) on two
cores that were busy otherwise (so few for the time): 39,878 mutants. Checkpoints, with the images
inside them: 19,974 in 1,366 s, 914 read, 19,060 refused, 3,324 edges reached. Images: 19,904 in
2,408 s, 5,260 read, 14,644 refused, 1,134 edges. No failure: nothing ran, no child died or hung,
and a batch of 50 added at most 24 MiB. The slowest batch took 124 s while the machine was busy.
That run began before the limits on names to import, tuple keys, directories and unpacked totals
were added; those came from files made by hand, which mutation had not found.
An earlier run without guidance (an hour, seed 2026, 23 November 2026): 544,700 mutants of
checkpoints, 12,777 read, 531,923 refused, no failure, at most 20 MiB for a batch of 100.

"Worst finding" is the most severe finding that the file itself causes; a refused file carries the
finding `refused` as well. "Read" means that the weights came out and the rest stayed inert.
"""


def outcome_line(row: Row) -> str:
    """The part of a table line that does not depend on the machine."""
    reason = row.detail.replace("|", "\\|").replace("`", "'")[:160]
    return f"| {row.name} | {row.outcome} | {row.worst} | {reason} |"


def render(rows: Sequence[Row]) -> str:
    """The page."""
    outcomes = Counter(row.outcome for row in rows)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
    slowest = max(rows, key=lambda row: row.seconds)
    largest = max(rows, key=lambda row: row.peak_mib)
    lines = [
        _HEAD,
        f"{len(rows)} files: {counts}. Nothing ran. Slowest: {slowest.seconds:.1f} s "
        f"({slowest.name}); most memory: {largest.peak_mib:.0f} MiB ({largest.name}), "
        "both for inspecting and loading together.",
        "",
        "| File | Outcome | Worst finding | Why it is refused |",
        "| --- | --- | --- | --- |",
        *(outcome_line(row) for row in rows),
    ]
    return "\n".join(lines) + "\n"
