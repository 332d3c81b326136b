"""The tables of the cost benchmark in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows in Markdown; each published procedure with how many times our time it takes."""
    head = (
        "| case | loading s | scan s | peak MiB | unlearn + recover + removal s "
        "| official RNP s (times ours) | triggers s | label by label s (times ours) | samples s "
        "| G multiply-adds | share of matrix rate |"
    )
    lines = [head, "|" + " --- |" * 11]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['case']} | failed: {row['error']} |" + " |" * 9)
            continue
        stages = row["stages"]
        core = sum(stages.get(name, 0.0) for name in ("unlearn", "recover", "removal"))
        operations, share = "–", "–"
        if "multiply_adds" in row:
            operations = f"{row['multiply_adds'] / 1e9:.0f}"
            share = f"{row['multiply_adds'] / row['seconds'] / row['matrix_rate']:.0%}"
        if row.get("brief"):  # a few steps say nothing of time
            start = f"| {row['case']} ({row['precision']}) | – | – | {row['peak_mib']:.0f} |"
            lines.append(start + " – |" * 7)
            continue
        samples = f"{stages['samples']:.1f}" if row["suspects"] else "–"
        lines.append(
            f"| {row['case']} ({row['precision']}) | {row['loading_seconds']:.1f} "
            f"| {row['seconds']:.1f} | {row['peak_mib']:.0f} "
            f"| {core:.1f} | {_times_ours(row['official_steps'], core)} "
            f"| {stages.get('triggers', 0.0):.1f} "
            f"| {_times_ours(row['neural_cleanse'], stages.get('triggers', 0.0))} "
            f"| {samples} | {operations} | {share} |"
        )
    return "\n".join(lines) + "\n"


def stage_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Each stage of the cases whose multiply-adds were counted, in Markdown."""
    lines = [
        "| case | stage | s | peak MiB | G multiply-adds | share of matrix rate |",
        "|" + " --- |" * 6,
    ]
    for row in rows:
        for name, operations in row.get("stage_multiply_adds", {}).items():
            seconds = row["stages"][name]
            share = operations / seconds / row["matrix_rate"] if seconds else 0.0
            lines.append(
                f"| {row['case']} ({row['precision']}) | {name} | {seconds:.1f} "
                f"| {row['stage_peak_mib'][name]:.0f} | {operations / 1e9:.0f} | {share:.0%} |"
            )
    return "\n".join(lines) + "\n"


def _times_ours(theirs: float, ours: float) -> str:
    return f"{theirs:.0f} ({theirs / ours:.1f})" if ours else f"{theirs:.0f} (–)"
