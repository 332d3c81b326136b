"""Build the hostile image sources, read each, and write docs/hostile-images.md."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.rnp_core.images.hostile import CASES, Case
from tests.rnp_core.images.hostile_run import TABLE, Row, render, run_case


def main() -> None:
    rows = [_run(case) for case in CASES]
    for case, row in zip(CASES, rows, strict=True):
        if row.outcome != case.outcome:
            raise SystemExit(f"{row.name!r}: {row.outcome}, expected {case.outcome}: {row.text}")
    TABLE.write_text(render(rows), encoding="utf-8")
    print(f"{len(rows)} sources, table in {TABLE}")


def _run(case: Case) -> Row:
    with TemporaryDirectory() as folder:
        return run_case(case, Path(folder))


if __name__ == "__main__":
    main()
