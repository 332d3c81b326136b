"""Build the hostile checkpoints, look at each, and write docs/hostile-checkpoints.md."""

from __future__ import annotations

from tests.helpers.hostile_files import corpus
from tests.helpers.hostile_run import run_case
from tests.helpers.hostile_table import TABLE, render


def main() -> None:
    rows = [run_case(name, build) for name, build in corpus().items()]
    for row in rows:
        if row.ran:
            raise SystemExit(f"{row.name!r} ran: {', '.join(row.ran)}")
    TABLE.write_text(render(rows), encoding="utf-8")
    print(f"{len(rows)} files, table in {TABLE}")


if __name__ == "__main__":
    main()
