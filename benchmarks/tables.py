"""The tables of the benchmark as Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import ENVIRONMENT_NAME, SETTINGS_NAME, read_records
from benchmarks.methods import TITLES
from benchmarks.metrics import BY_NAME, METRICS, Metric
from benchmarks.ours import ABLATIONS
from benchmarks.rescoring import TERMS
from benchmarks.rows import ROWS_NAME, read_rows
from benchmarks.summary import summarise

Figure = Mapping[str, Any]
"""A value with its interval, as :mod:`benchmarks.summary` writes it."""

_CHANGES = {name: ablation.title for name, ablation in ABLATIONS.items()} | {
    name: term.title for name, term in TERMS.items()
}
"""What an ablation undoes, in words."""

_SHORT = ("verdict_tpr", "verdict_fpr", "first_label", "asr_after", "asr_reactivated",
          "asr_learned", "accuracy_loss", "clean_accuracy_loss", "trigger_flips", "sample_auroc",
          "sample_tpr")

_OF_ALL = ("verdict_tpr", "verdict_fpr", "verdict_auroc", "asr_after", "accuracy_loss",
           "sample_auroc")
_OF_ACCUSED = ("accused_first_label", "accused_asr", "accused_flips", "accused_sample_auroc",
               "accused_flagged", "accused_clean_flagged")


def write_tables(folders: Sequence[Path], out: Path) -> str:
    """Summarise the rows in ``folders`` into ``out/tables.json`` and ``out/tables.md``.

    Returns:
        The Markdown.
    """
    rows = read_rows(folder / ROWS_NAME for folder in folders)
    environments: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for folder in folders:
        environments.update(read_records(folder / ENVIRONMENT_NAME))
        settings.update(read_records(folder / SETTINGS_NAME))
    used = {row.environment for row in rows}
    summary = summarise(
        rows,
        environments={name: value for name, value in environments.items() if name in used},
        settings=settings,
    )
    text = render_markdown(summary)
    out.mkdir(parents=True, exist_ok=True)
    (out / "tables.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    (out / "tables.md").write_text(text, encoding="utf-8")
    return text


def render_markdown(summary: Mapping[str, Any]) -> str:
    """All tables of a summary."""
    parts = [
        _heading(summary),
        _parts_table(summary),
        _target_table(summary),
        _reliability_table(summary),
        _comparison(summary),
        _counts_table(summary),
        _presets_table(summary),
        _baseline_table(summary),
        _difference_table(summary),
        _ablation_table(summary),
        _short_table("Attack or control", summary["by_attack"]),
        _short_table("Architecture", summary["by_architecture"]),
        _misses(summary),
        _each_table(summary),
        _environments(summary),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(summary: Mapping[str, Any]) -> str:
    models, seeds = summary["models"], ", ".join(map(str, summary["seeds"]))
    split = "the reporting halves, the shared checkpoints and the fresh models"
    if not summary["reported"]:
        split = "**models on which settings were chosen**, as there are no others among the rows"
    return (
        f"Measured on {split}: {models['backdoored']} backdoored models, {models['clean']} clean "
        f"ones and {models['neither']} that count on neither side (repaired in part, or with a "
        f"trigger that works on less than half the images). {summary['clean_images']} clean "
        f"images unless said otherwise, seed {seeds or '–'}. In brackets: 95 % intervals over "
        "models, Wilson's for rates, bootstrap for means, Newcombe's for the AUROC. Scans by an "
        "earlier version have lines of their own by part and by model, and count nowhere else."
    )


def _parts_table(summary: Mapping[str, Any]) -> str:
    """One line for each part and split, with what a user sees on the models that are accused."""
    lines = []
    for name, found in sorted(summary["by_part_and_split"].items()):
        shown = {
            metric: _figure(found.get(metric), BY_NAME[metric], interval=False)
            for metric in (*_OF_ALL, *_OF_ACCUSED)
        }
        if "accused_asr" in found:
            worst = _figure(found["accused_asr_worst"], BY_NAME["accused_asr_worst"])
            shown["accused_asr"] += f" (worst {worst})"
        counts = {
            metric: _count(found.get(metric))
            for metric in ("verdict_tpr", "verdict_fpr", "accused_first_label")
        }
        lines.append([name, *(shown | counts).values()])
    titles = [BY_NAME[name].title for name in _OF_ALL]
    titles += [f"where accused: {BY_NAME[name].title}" for name in _OF_ACCUSED]
    return _table(["part, split", *titles], lines) if lines else ""


def _target_table(summary: Mapping[str, Any]) -> str:
    lines = []
    for row in summary["targets"]:
        metric = BY_NAME[row["metric"]]
        sign = "≥" if metric.higher_is_better else "≤"
        line = [row["task"], metric.title, f"{sign} {_number(row['limit'], metric)}"]
        for column in ("targeted", "all"):
            measured = row[column]["measured"]
            met = {True: "met", False: "**missed**", None: "not measured"}[row[column]["met"]]
            line += [_figure(measured, metric), str(measured["n"]) if measured else "–", met]
        lines.append(line)
    targeted = "reporting halves and shared checkpoints"
    titles = [targeted, "models", "", "the same and all models trained later", "models", ""]
    return _table(["task", "figure", "target", *titles], lines)


def _reliability_table(summary: Mapping[str, Any]) -> str:
    found = summary["reliability"]
    if not found["bins"]:
        return ""
    lines = [
        [f"{row['low']:.2f} to {row['high']:.2f}", str(row["models"]), str(row["backdoored"])]
        for row in found["bins"]
    ]
    table = _table(["backdoor score", "models", "of them backdoored"], lines)
    return f"{table}\n\nBrier score of the backdoor score: {found['brier']:.3f}."


def _comparison(summary: Mapping[str, Any]) -> str:
    """How often ours is ahead, and the two comparisons that the targets name."""
    differences = summary["differences"]
    if not differences:
        return ""
    standings = [c["standing"] for row in differences.values() for c in row.values()]
    ahead, level = standings.count("ahead"), standings.count("level")
    behind = [
        f"{BY_NAME[metric].title} against {_title(name)} {_difference(change, BY_NAME[metric])}"
        for name, row in differences.items()
        for metric, change in row.items()
        if change["standing"] == "behind"
    ]
    lines = [
        f"Against the baselines: ahead in {ahead}, level in {level} and behind in "
        f"{len(behind)} of {len(standings)} comparisons of means on the same models.",
        *([f"Behind, ours minus theirs: {'; '.join(behind)}."] if behind else []),
    ]
    named = (
        ("rnp-oracle", ("asr_after", "accuracy_loss"), "Gap to the oracle threshold"),
        ("nc-same-budget", ("trigger_flips", "trigger_overlap"), "Trigger on the same budget"),
    )
    for baseline, metrics, title in named:
        shown = [
            f"{BY_NAME[m].title} {_difference(differences[baseline][m], BY_NAME[m])}"
            for m in metrics
            if m in differences.get(baseline, {})
        ]
        if shown:
            lines.append(f"{title}, ours minus theirs: {'; '.join(shown)}.")
    return "\n".join(f"- {line}" for line in lines)


def _metric_lines(groups: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """One line for each metric, with its figure in every group."""
    return [
        [metric.title, *(_figure(found.get(metric.name), metric) for found in groups.values())]
        for metric in METRICS
    ]


def _counts_table(summary: Mapping[str, Any]) -> str:
    counts = summary["counts"]
    if len(counts) < 2:
        return ""
    lines = _metric_lines(counts)
    models = max((figure["n"] for found in counts.values() for figure in found.values()), default=0)
    table = _table(["clean images", *counts], lines)
    return f"On the {models} models that were scanned with each number of clean images:\n\n{table}"


def _presets_table(summary: Mapping[str, Any]) -> str:
    presets = summary["presets"]
    if len(presets) < 2:
        return ""
    lines = _metric_lines(presets)
    lines.append(["seconds, median", *(_plain(p["seconds"], ".0f") for p in presets.values())])
    return _table(["preset", *presets], lines)


def _baseline_table(summary: Mapping[str, Any]) -> str:
    methods = summary["methods"]
    if len(methods) < 2:
        return ""
    lines = _metric_lines(methods)
    cost = [summary["cost"][name] for name in methods]
    lines.append(["seconds, median", *(_plain(c["seconds"], ".0f") for c in cost)])
    lines.append(["memory, largest, MiB", *(_plain(c["peak_mib"], ".0f") for c in cost)])
    lines.append(
        ["models done / not applicable / failed",
         *(f"{c['done']} / {c['not_applicable']} / {c['failed']}" for c in cost)]
    )
    table = _table(["", *(_title(name) for name in methods)], lines)
    models = max(c["done"] + c["not_applicable"] + c["failed"] for c in cost)
    return f"On the {models} models on which every method was tried:\n\n{table}"


def _difference_table(summary: Mapping[str, Any]) -> str:
    differences = summary["differences"]
    if not differences:
        return ""
    lines = [
        [metric.title, *(_difference(row.get(metric.name), metric) for row in differences.values())]
        for metric in METRICS
        if any(metric.name in row for row in differences.values())
    ]
    head = ["ours minus theirs, same models", *(_title(name) for name in differences)]
    return _table(head, lines)


def _ablation_table(summary: Mapping[str, Any]) -> str:
    ablations = summary["ablations"]
    if not ablations:
        return ""
    of_terms = {n: row for n, row in ablations.items() if n.removeprefix("ours-") in TERMS}
    of_scans = {n: row for n, row in ablations.items() if n not in of_terms}
    found = [
        _changes_table("term of the score undone, added up anew", of_terms),
        _changes_table("choice undone, scanned anew", of_scans),
    ]
    return "\n\n".join(table for table in found if table)


def _changes_table(title: str, changes: Mapping[str, Any]) -> str:
    """One line for each change, with the figures that some of them has."""
    if not changes:
        return ""
    shown = [
        metric
        for metric in (BY_NAME[name] for name in ("verdict_auroc", *_SHORT))
        if any(metric.name in row["figures"] for row in changes.values())
    ]
    lines = [
        [
            _title(name),
            str(max((figure["n"] for figure in row["figures"].values()), default=0)),
            *(
                f"{_figure(row['figures'].get(metric.name), metric, interval=False)} "
                f"({_difference(row['brings'].get(metric.name), metric, interval=False)})"
                for metric in shown
            ),
        ]
        for name, row in changes.items()
    ]
    head = [f"{title} (in brackets: what it brings)", "models", *(m.title for m in shown)]
    return _table(head, lines)


def _short_table(title: str, groups: Mapping[str, Any]) -> str:
    if not groups:
        return ""
    shown = [BY_NAME[name] for name in _SHORT]
    lines = [
        [
            name,
            str(max((figure["n"] for figure in found.values()), default=0)),
            *(_figure(found.get(metric.name), metric, interval=False) for metric in shown),
        ]
        for name, found in sorted(groups.items())
    ]
    return _table([title, "models", *(metric.title for metric in shown)], lines)


def _misses(summary: Mapping[str, Any]) -> str:
    lines = [
        [
            miss["subject"],
            miss["truth"],
            str(miss["verdict"]),
            _plain(miss["score"], ".2f"),
            ", ".join(miss["misses"]),
        ]
        for miss in summary["misses"]
    ]
    failures = [
        [row["subject"], row["method"], row["error"]] for row in summary["failures"]
    ]
    parts = []
    if lines:
        head = ["model that ours misses", "truth", "verdict", "score", "what"]
        parts.append(_table(head, lines))
    if failures:
        parts.append(_table(["run that failed", "method", "error"], failures))
    return "\n\n".join(parts)


def _each_table(summary: Mapping[str, Any]) -> str:
    """Every model by part and split, backdoored ones first."""
    each = sorted(
        summary["each"],
        key=lambda row: (row["part"], row["split"], row["asr"][0] is None, row["subject"]),
    )
    lines = [
        [
            row["subject"],
            f"{row['part']}, {row['split']}",
            row["truth"],
            row["verdict"] or "–",
            _plain(row["score"], ".2f"),
            f"{_listed(row['labels'])} ({_listed(row['targets'])})",
            _pair(row["accuracy"]),
            _pair(row["asr"]),
            _plain(row["trigger_flip_rate"], ".2f"),
            _plain(row["sample_auroc"], ".3f"),
            _plain(row["seconds"], ".0f"),
        ]
        for row in each
    ]
    head = ["model", "part", "truth", "verdict", "score", "labels (true)", "accuracy",
            "true ASR", "flips", "triage AUROC", "s"]  # fmt: skip
    return _table(head, lines) if lines else ""


def _listed(labels: Sequence[int] | None) -> str:
    return ", ".join(map(str, labels)) if labels else "–"


def _pair(values: Sequence[float | None]) -> str:
    """Before and after; one where nothing changed."""
    before, after = values
    if before is None or after is None or before == after:
        return _plain(before, ".3f")
    return f"{before:.3f} → {after:.3f}"


def _environments(summary: Mapping[str, Any]) -> str:
    lines = [
        f"- {facts['processor']}, {facts['threads']} of {facts['cores']} cores, {facts['system']}, "
        f"Python {facts['python']}, torch {facts['torch']}, version {facts['version']}, commit "
        f"{facts['commit'] or 'unknown'}, {facts['date']}"
        for facts in summary["environments"].values()
    ]
    return "\n".join(["Measured with:", "", *lines]) if lines else ""


def _title(name: str) -> str:
    method, _, budget = name.partition(" ")
    change = method.removeprefix("ours-")
    title = _CHANGES.get(change) or TITLES.get(method, method)
    return f"{title} {budget}".strip()


def _figure(figure: Figure | None, metric: Metric, *, interval: bool = True) -> str:
    if figure is None:
        return "–"
    value = _number(figure["value"], metric)
    if not interval or figure["low"] == figure["high"]:
        return value
    low, high = (_number(figure[end], metric, unit=False) for end in ("low", "high"))
    return f"{value} ({low} to {high})"


def _count(figure: Figure | None) -> str:
    """A rate as "7 of 9"."""
    return "–" if figure is None else f"{round(figure['value'] * figure['n'])} of {figure['n']}"


def _difference(figure: Figure | None, metric: Metric, *, interval: bool = True) -> str:
    """A difference with its sign; bold when it goes against us."""
    if figure is None:
        return "–"
    scale, digits = (1, 3) if metric.unit == "number" else (100, 1)
    value = f"{scale * figure['value']:+.{digits}f}"
    if interval:
        low, high = (f"{scale * figure[end]:+.{digits}f}" for end in ("low", "high"))
        value = f"{value} ({low} to {high})"
    return f"**{value}**" if figure["standing"] == "behind" else value


def _number(value: float, metric: Metric, *, unit: bool = True) -> str:
    if metric.unit == "number":
        return f"{value:.3f}"
    ending = {"share": " %", "points": " points"}[metric.unit] if unit else ""
    return f"{100 * value:.1f}{ending}"


def _plain(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
