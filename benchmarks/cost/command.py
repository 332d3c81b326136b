"""Command line of the cost benchmark; see :mod:`benchmarks.cost`."""

from __future__ import annotations

import argparse
import fnmatch
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cost.cases import CASES
from benchmarks.cost.measure import measure
from benchmarks.cost.tables import stage_table, table
from benchmarks.environment import describe_environment


def main(arguments: Sequence[str]) -> int:
    """The command line of ``rnp benchmark cost``; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="rnp benchmark cost",
        description="What a scan costs: seconds, memory and multiply-adds, and the same work the "
        "plain way. Rows of other cases in the output folder are kept.",
    )
    parser.add_argument("--only", default="*", help="names of cases, with * and ?, by comma")
    parser.add_argument("--runs", type=int, default=3, help="of which the medians are shown")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--no-count", action="store_true", help="count no multiply-adds: that takes further scans"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/cost"))
    options = parser.parse_args(arguments)
    patterns = options.only.split(",")
    cases = [c for c in CASES if any(fnmatch.fnmatchcase(c.name, p) for p in patterns)]
    if not cases:
        parser.error(f"expected cases among {', '.join(case.name for case in CASES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "cost.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    for number, case in enumerate(cases, start=1):
        print(f"[{number}/{len(cases)}] {case.name}", flush=True)
        facts = describe_environment(threads=case.threads, device=options.device)
        row = measure(case, runs=options.runs, device=options.device, count=not options.no_count)
        rows = [kept for kept in rows if kept["case"] != case.name]
        rows.append({**row, "environment": facts})
        path.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
        text = f"{table(rows)}\n{stage_table(rows)}"
        (options.out / "cost.md").write_text(text, encoding="utf-8")
    print("\n" + text)
    measured = {case.name for case in cases}
    return int(any("error" in row for row in rows if row["case"] in measured))
