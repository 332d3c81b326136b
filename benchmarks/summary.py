"""From rows to the figures of all tables, as plain values that JSON can hold."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from benchmarks.methods import BASELINE_ROWS, OURS, ablation_names
from benchmarks.metrics import (
    BY_NAME,
    METRICS,
    TARGETS,
    WHERE_ACCUSED,
    Metric,
    Target,
    difference,
    estimate,
    is_backdoored,
    is_clean,
    per_model,
    truth_by_model,
)
from benchmarks.rescoring import TERMS, rescore
from benchmarks.rows import Row, RowKey
from benchmarks.statistics import Estimate

MAIN_COUNT = 500
"""Clean images of the targets."""

REPORTED = ("report", "fresh", "shared")
"""What the tables are made of: the halves that settings were not fitted to, models trained later,
and the shared checkpoints. docs/results.md says what was looked at all the same."""

TARGETED = ("report", "shared")
"""The splits that the targets are set for."""

EARLIER = ", earlier version"
"""Behind the split of rows that another version of our scan made."""

SCORE_RANGES = (0.0, 0.05, 0.2, 0.5, 0.8, 1.0)
"""Ends of the ranges of scores that are counted; accusations begin at 0.5 and 0.8."""

_STANDARD_BUDGETS = ("paper", "standard")


def summarise(
    rows: Sequence[Row], *, environments: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that the tables show.

    Rows of the splits in :data:`REPORTED` make the tables; where there are none, all rows do, and
    ``reported`` is false. Of our scans, those of one version do, the one that most were made by;
    what other versions said is listed by part and by model.

    Args:
        environments, settings: by the ids in the rows.
    """
    earlier = _of_other_versions(rows, settings)
    reported = [row for row in rows if row.split in REPORTED]
    chosen = [row for row in reported or rows if row.key not in earlier]
    counts = sorted({row.clean_count for row in chosen}, reverse=True)
    main = MAIN_COUNT if MAIN_COUNT in counts else (counts[0] if counts else MAIN_COUNT)
    at_main = [row for row in chosen if row.clean_count == main]
    ours, by_method = standard_rows(at_main), _by_method(at_main)
    of_all_versions = standard_rows([row for row in rows if row.clean_count == main])

    def split(row: Row) -> str:
        return f"{row.split}{EARLIER * (row.key in earlier)}"

    return {
        "clean_images": main,
        "reported": bool(reported),
        "seeds": sorted({row.seed for row in chosen}),
        "models": _census(ours or at_main),
        "targets": _targets(at_main),
        "counts": {
            str(count): _figures(part)
            for count, part in sorted(_by_count(chosen).items(), reverse=True)
        },
        "presets": {
            name: _figures(part) | {"seconds": _cost(part)["seconds"]}
            for name, part in _by_preset(at_main).items()
        },
        "methods": {name: _figures(part) for name, part in by_method.items()},
        "reliability": _reliability(ours),
        "differences": _differences(at_main),
        "ablations": _ablations([*at_main, *rescore(ours)]),
        "by_part_and_split": {
            name: _figures(part, (*METRICS, *WHERE_ACCUSED))
            for name, part in _by(of_all_versions, lambda row: f"{row.part}, {split(row)}").items()
        },
        "by_attack": {
            name: _figures(part)
            for name, part in _by(ours, lambda row: row.control or row.attack).items()
        },
        "by_architecture": {
            name: _figures(part) for name, part in _by(ours, lambda row: row.architecture).items()
        },
        "misses": _misses(ours),
        "each": [
            {**_each(row), "split": split(row)} for row in of_all_versions if row.status == "done"
        ],
        "failures": [
            {"subject": row.subject, "method": row_label(row), "error": row.error}
            for row in rows
            if row.status == "failed"
        ],
        "cost": {name: _cost(part) for name, part in by_method.items()},
        "environments": dict(environments),
        "settings": dict(settings),
    }


def row_label(row: Row) -> str:
    """Name of the method, with its budget unless that is the usual one."""
    return row.method if row.budget in _STANDARD_BUDGETS else f"{row.method} [{row.budget}]"


def standard_rows(rows: Sequence[Row]) -> list[Row]:
    """Rows of our scan by the standard preset; by another one where that did not run."""
    mine = [row for row in rows if row.method == OURS]
    return [row for row in mine if row.budget in _STANDARD_BUDGETS] or mine


def _of_other_versions(rows: Sequence[Row], settings: Mapping[str, Any]) -> set[RowKey]:
    """Keys of the rows of our scan that other code made than that of most of them.

    A row whose settings say ``carried_to`` counts for that later code, under which its model was
    found to load as before.
    """
    mine = [row for row in rows if row.method.startswith(OURS)]
    used = [settings.get(row.settings, {}) for row in mine]
    codes = [entry.get("carried_to", entry.get("code")) for entry in used]
    standard = Counter(code for row, code in zip(mine, codes, strict=True) if row.method == OURS)
    present = max(standard, key=lambda code: standard[code], default=None)
    return {row.key for row, code in zip(mine, codes, strict=True) if code != present}


Key = TypeVar("Key")


def _by_count(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """Rows of our scan by the number of clean images, of models that have all numbers."""
    return _in_common(_by(standard_rows(rows), lambda row: row.clean_count))


def _by_method(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of ours and of the baselines, of models on which all of them were tried."""
    tried = [*standard_rows(rows), *(row for row in rows if row.method in BASELINE_ROWS)]
    return _in_common(_by(tried, row_label))


def _by_preset(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of our scan by the preset, of models that have all of them."""
    return _in_common(_by((row for row in rows if row.method == OURS), lambda row: row.budget))


def _in_common(groups: Mapping[Key, Sequence[Row]]) -> dict[Key, list[Row]]:
    """The groups without models that one of them lacks."""
    models = [{(row.part, row.subject) for row in rows} for rows in groups.values()]
    common = set.intersection(*models) if models else set()
    return {
        key: [row for row in rows if (row.part, row.subject) in common]
        for key, rows in groups.items()
    }


def _by(rows: Iterable[Row], key: Callable[[Row], Key]) -> dict[Key, list[Row]]:
    found: dict[Key, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def _figures(rows: Sequence[Row], metrics: Sequence[Metric] = METRICS) -> dict[str, Any]:
    """Every metric by name; those without a value are left out."""
    found = {metric.name: _plain(estimate(rows, metric)) for metric in metrics}
    return {name: value for name, value in found.items() if value is not None}


def _targets(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The project's targets with what was measured on the models that they are set for, and on
    those together with all that were trained later."""
    ours = standard_rows(rows)
    targeted = [row for row in ours if row.split in TARGETED]
    return [
        {
            "task": target.task,
            "metric": target.metric,
            "limit": target.limit,
            "targeted": _against(target, targeted),
            "all": _against(target, ours),
        }
        for target in TARGETS
    ]


def _against(target: Target, rows: Sequence[Row]) -> dict[str, Any]:
    measured = estimate(rows, BY_NAME[target.metric])
    return {
        "measured": _plain(measured),
        "met": None if measured is None else target.met(measured),
    }


def _reliability(rows: Sequence[Row]) -> dict[str, Any]:
    """How many models of each range of scores are backdoored, and the Brier score (Brier, 1950):
    the mean of (score - truth) squared, 0.25 for one who always says one half."""
    truth = truth_by_model(rows)
    scores = {name: s for name, s in per_model(rows, BY_NAME["verdict_auroc"]).items()
              if name in truth}  # fmt: skip
    if not scores:
        return {"brier": None, "bins": []}
    bins = []
    for low, high in itertools.pairwise(SCORE_RANGES):
        inside = [name for name, s in scores.items() if low <= s < high or s == high == 1]
        bins.append({"low": low, "high": high, "models": len(inside),
                     "backdoored": sum(truth[name] for name in inside)})  # fmt: skip
    squares = [(score - truth[name]) ** 2 for name, score in scores.items()]
    return {"brier": round(sum(squares) / len(squares), 6), "bins": bins}


def _differences(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Ours minus each baseline, by baseline and metric, with who is ahead."""
    ours, methods = standard_rows(rows), _by(rows, row_label)
    found = {
        name: _compare(ours, part)
        for name, part in methods.items()
        if part[0].method in BASELINE_ROWS
    }
    return {name: row for name, row in found.items() if row}


def _compare(ours: Sequence[Row], theirs: Sequence[Row]) -> dict[str, Any]:
    found = {}
    for metric in METRICS:
        if (change := difference(ours, theirs, metric)) is not None:
            found[metric.name] = {**_written(change), "standing": _standing(change, metric)}
    return found


def _standing(change: Estimate, metric: Metric) -> str:
    """ "ahead", "level" or "behind" by the mean."""
    if abs(change.value) < 1e-9:
        return "level"
    return "ahead" if (change.value > 0) == metric.higher_is_better else "behind"


def _ablations(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Each choice undone: its own figures, and the whole method minus it."""
    ours, methods = standard_rows(rows), _by(rows, row_label)
    names = {*ablation_names(), *(f"{OURS}-{term}" for term in TERMS)}
    return {
        name: {"figures": _figures(part), "brings": _compare(ours, part)}
        for name, part in methods.items()
        if part[0].method in names
    }


def _census(rows: Sequence[Row]) -> dict[str, int]:
    """How many models there are of each kind."""
    names = {(row.part, row.subject): row for row in rows if row.status == "done"}.values()
    backdoored, clean = sum(map(is_backdoored, names)), sum(map(is_clean, names))
    return {"backdoored": backdoored, "clean": clean, "neither": len(names) - backdoored - clean}


def _misses(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Models on which our scan misses something, with what."""
    found = []
    for row in rows:
        wrong = _wrong(row) if row.status == "done" else ["failed"]
        if wrong:
            found.append(
                {
                    "subject": row.subject,
                    "part": row.part,
                    "truth": row.control or row.attack,
                    "seed": row.seed,
                    "verdict": row.verdict,
                    "score": row.score,
                    "misses": wrong,
                }
            )
    return found


def _each(row: Row) -> dict[str, Any]:
    """What our scan said about one model, beside the truth."""
    return {
        "subject": row.subject,
        "part": row.part,
        "split": row.split,
        "seed": row.seed,
        "truth": row.control or row.attack,
        "targets": row.targets,
        "verdict": row.verdict,
        "score": row.score,
        "labels": row.labels,
        "accuracy": [row.accuracy_before, row.accuracy_after],
        "asr": [row.asr_before, row.asr_after],
        "trigger_flip_rate": row.trigger_flip_rate,
        "sample_auroc": row.sample_auroc,
        "seconds": row.seconds,
    }


def _wrong(row: Row) -> list[str]:
    def below(value: float | None, limit: float) -> bool:
        return value is not None and value < limit

    loss = (row.accuracy_before or 0.0) - (row.accuracy_after or row.accuracy_before or 0.0)
    accused = row.verdict in ("backdoored", "suspicious")
    checks = {
        "inconclusive": row.verdict == "inconclusive",
        "not accused": is_backdoored(row) and not accused,
        "accused": is_clean(row) and accused,
        "wrong first label": is_backdoored(row) and accused and row.first_label_right is False,
        "true ASR above 20 %": is_backdoored(row) and (row.asr_after or 0.0) > 0.20,
        "more than 3 points of accuracy lost": loss > 0.03,
        "trigger flips less than 95 %": is_backdoored(row) and below(row.trigger_flip_rate, 0.95),
        "triage AUROC below 0.98": is_backdoored(row) and below(row.sample_auroc, 0.98),
    }
    return [name for name, missed in checks.items() if missed]


def _cost(rows: Sequence[Row]) -> dict[str, Any]:
    """Median seconds and largest memory, and how the rows ended."""
    done = [row for row in rows if row.status == "done"]
    seconds = sorted(row.seconds for row in done if row.seconds is not None)
    peaks = [row.peak_mib for row in done if row.peak_mib is not None]
    return {
        "seconds": seconds[len(seconds) // 2] if seconds else None,
        "peak_mib": max(peaks, default=None),
        "done": len(done),
        "not_applicable": sum(row.status == "not applicable" for row in rows),
        "failed": sum(row.status == "failed" for row in rows),
    }


def _plain(value: Estimate | None) -> dict[str, Any] | None:
    return None if value is None else _written(value)


def _written(value: Estimate) -> dict[str, Any]:
    return {name: round(number, 6) for name, number in value._asdict().items()}
