"""From rows to tables."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.metrics import BY_NAME, TARGETS, estimate, is_backdoored, is_clean, per_model
from benchmarks.rows import Row, append_row
from benchmarks.statistics import Estimate
from benchmarks.summary import row_label, summarise
from benchmarks.tables import render_markdown, write_tables

BLANK = Row(
    subject="m0", method="ours", clean_count=500, seed=0, budget="standard", part="cifar10",
    split="report", attack="badnets", control="", architecture="resnet18", targets=[3],
    verdict="backdoored", score=0.97, labels=[3], first_label_right=True, targets_found=True,
    accuracy_before=0.93, accuracy_after=0.92, asr_before=1.0, asr_after=0.01,
    trigger_flip_rate=0.97, trigger_overlap=0.4, sample_auroc=0.99, sample_tpr=0.95,
    seconds=50.0, peak_mib=900.0, environment="e",
)
CLEAN = dataclasses.replace(
    BLANK, subject="c0", attack="none", control="seed", targets=[], verdict="no_evidence",
    score=0.05, labels=[], first_label_right=None, targets_found=None, accuracy_after=0.93,
    asr_before=None, asr_after=None, trigger_flip_rate=None, trigger_overlap=None,
    sample_auroc=None, sample_tpr=None,
)


def row(base: Row = BLANK, **changes: Any) -> Row:
    return dataclasses.replace(base, **changes)


def summary(rows: list[Row]) -> dict[str, Any]:
    return summarise(rows, environments={}, settings={})


def good_rows() -> list[Row]:
    backdoored = [row(subject=f"m{i}") for i in range(5)]
    return backdoored + [row(CLEAN, subject=f"c{i}") for i in range(5)]


def test_a_model_counts_by_what_its_trigger_does() -> None:
    weak = row(asr_before=0.3)
    repaired = row(CLEAN, control="repaired")
    assert is_backdoored(BLANK) and not is_clean(BLANK)
    assert is_clean(CLEAN) and not is_backdoored(CLEAN)
    for neither in (weak, repaired):
        assert not is_backdoored(neither) and not is_clean(neither)


def test_seeds_of_a_model_are_averaged_and_parts_kept_apart() -> None:
    rows = [row(asr_after=0.0), row(asr_after=0.2, seed=1), row(asr_after=0.5, part="shared")]
    assert per_model(rows, BY_NAME["asr_after"]) == {"cifar10/m0": 0.1, "shared/m0": 0.5}


def test_failed_runs_and_missing_answers_do_not_count() -> None:
    rows = [row(), row(subject="m1", status="failed"), row(subject="m2", asr_after=None)]
    found = estimate(rows, BY_NAME["asr_after"])
    assert found is not None and found.n == 1


def test_every_target_is_met_by_good_rows_but_for_what_was_not_measured() -> None:
    found = {target["metric"]: target["all"]["met"] for target in summary(good_rows())["targets"]}
    assert found.pop("both_labels") is None
    assert set(found) == {target.metric for target in TARGETS} - {"both_labels"}
    assert all(found.values())


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({"verdict": "no_evidence"}, {"verdict_tpr"}),
        ({"verdict": "inconclusive"}, {"verdict_tpr", "inconclusive"}),
        ({"score": 0.0}, {"verdict_auroc"}),
        ({"first_label_right": False}, {"first_label"}),
        ({"targets": [1, 2], "targets_found": False}, {"both_labels"}),
        ({"asr_after": 0.3}, {"asr_after", "asr_worst"}),
        ({"accuracy_after": 0.8}, {"accuracy_loss"}),
        ({"trigger_flip_rate": 0.1}, {"trigger_flips"}),
        ({"sample_auroc": 0.5}, {"sample_auroc"}),
        ({"sample_tpr": 0.2}, {"sample_tpr"}),
    ],
)
def test_one_bad_model_of_five_misses_its_target(changes: dict, missed: set[str]) -> None:
    rows = [*good_rows()[1:], row(**changes)]
    found = {t["metric"] for t in summary(rows)["targets"] if t["all"]["met"] is False}
    assert found == missed


def test_a_target_is_met_at_its_limit_but_not_beyond() -> None:
    target = next(target for target in TARGETS if target.metric == "accuracy_loss")
    at_limit = float(np.float32(0.95)) - float(np.float32(0.935))
    assert at_limit != target.limit and target.met(Estimate(at_limit, 0.0, 1.0, 5))
    assert not target.met(Estimate(target.limit + 1 / 12000, 0.0, 1.0, 5))


def test_clean_models_have_targets_too() -> None:
    rows = [*good_rows()[:9], row(CLEAN, subject="c9", verdict="suspicious", accuracy_after=0.8)]
    found = {t["metric"] for t in summary(rows)["targets"] if t["all"]["met"] is False}
    assert found == {"verdict_fpr", "clean_accuracy_loss"}


def test_only_reported_splits_make_the_tables_when_there_are_any() -> None:
    tuned = [row(r, split="tune", asr_after=0.9) for r in good_rows()]
    both = summary(good_rows() + [row(r, subject=f"t{r.subject}") for r in tuned])
    assert both["reported"] and both["models"] == {"backdoored": 5, "clean": 5, "neither": 0}
    assert set(both["by_part_and_split"]) == {"cifar10, report", "cifar10, tune"}
    alone = summary(tuned)
    assert not alone["reported"] and "settings were chosen" in render_markdown(alone)


def test_comparisons_say_who_is_ahead_in_the_direction_of_the_metric() -> None:
    theirs = [row(r, method="anp", budget="paper", verdict=None, score=None, labels=None,
                  asr_after=r.asr_after and 0.5, accuracy_after=0.93) for r in good_rows()]
    found = summary(good_rows() + theirs)["differences"]["anp"]
    assert found["asr_after"]["standing"] == "ahead"
    assert found["asr_after"]["value"] == pytest.approx(-0.49)
    assert found["accuracy_loss"]["standing"] == "behind"
    assert found["clean_accuracy_loss"]["standing"] == "level"
    assert "verdict_auroc" not in found and "asr_worst" not in found
    text = render_markdown(summary(good_rows() + theirs))
    assert "ahead in 1" in text and "**+1.0" in text and "ANP" in text


def test_ablations_show_what_each_choice_brings() -> None:
    without = [row(r, method="ours-no-repair", asr_after=r.asr_after and 0.4) for r in good_rows()]
    found = summary(good_rows() + without)
    assert found["ablations"]["ours-no-repair"]["brings"]["asr_after"]["standing"] == "ahead"
    assert "ours-no-repair" not in found["differences"]
    assert "pruning alone, no fine-tuning" in render_markdown(found)


def test_unusual_budgets_are_named_and_kept_apart() -> None:
    assert row_label(row(method="nc", budget="short")) == "nc [short]"
    assert row_label(row(method="nc", budget="paper")) == "nc"
    found = summary([*good_rows(), row(subject="m0", budget="quick", asr_after=0.9)])
    assert set(found["methods"]) == {"ours"} and set(found["presets"]) == {"standard", "quick"}
    assert found["presets"]["quick"]["asr_after"] == {"value": 0.9, "low": 0.9, "high": 0.9, "n": 1}
    assert found["counts"]["500"]["asr_after"]["value"] == pytest.approx(0.01)
    assert "| preset | standard | quick |" in render_markdown(found)


def test_scans_by_another_version_have_lines_of_their_own_and_count_nowhere_else() -> None:
    now = [row(r, settings="now") for r in good_rows()]
    old = [row(subject="old", settings="old", verdict="no_evidence", score=0.1, labels=[])]
    undone = [row(r, method="ours-no-repair", settings="old", asr_after=0.9) for r in now]
    settings = {"now": {"code": "a"}, "old": {"code": "b"}}
    found = summarise(now + old + undone, environments={}, settings=settings)
    assert found["models"] == {"backdoored": 5, "clean": 5, "neither": 0}
    assert not found["ablations"] and not found["misses"]
    assert set(found["by_part_and_split"]) == {
        "cifar10, report", "cifar10, report, earlier version",
    }
    (line,) = (each for each in found["each"] if each["subject"] == "old")
    assert line["split"] == "report, earlier version"


def test_scans_that_are_carried_to_another_version_count_with_it() -> None:
    now = [row(r, settings="now") for r in good_rows()]
    old = [row(subject="old", settings="old")]
    settings = {"now": {"code": "b"}, "old": {"code": "a", "carried_to": "b"}}
    found = summarise(now + old, environments={}, settings=settings)
    assert found["models"]["backdoored"] == 6
    assert set(found["by_part_and_split"]) == {"cifar10, report"}


def test_targets_are_held_against_the_models_that_they_name_and_against_all() -> None:
    later = [row(subject=f"f{n}", split="fresh", score=0.1, verdict="no_evidence") for n in (0, 1)]
    found = summary([*good_rows(), *later])
    rate = next(t for t in found["targets"] if t["metric"] == "verdict_tpr")
    assert rate["targeted"]["measured"]["n"] == 5 and rate["targeted"]["met"]
    assert rate["all"]["measured"]["n"] == 7 and not rate["all"]["met"]
    text = render_markdown(found)
    assert "| reporting halves and shared checkpoints | models |  | the same and all models" in text


def test_fewer_clean_images_get_a_table_and_misses_are_listed() -> None:
    rows = good_rows() + [row(r, clean_count=50) for r in good_rows()]
    rows.append(row(subject="hard", verdict="no_evidence", asr_after=1.0, labels=[]))
    rows.append(row(subject="broken", status="failed", error="it | broke\nbadly"))
    found = summary(rows)
    assert list(found["counts"]) == ["500", "50"] and found["clean_images"] == 500
    (miss,) = (m for m in found["misses"] if m["subject"] == "hard")
    assert miss["misses"] == ["not accused", "true ASR above 20 %"]
    text = render_markdown(found)
    assert "| clean images | 500 | 50 |" in text
    assert "it \\| broke badly" in text


def test_tables_are_written_as_markdown_and_json(tmp_path: Path) -> None:
    for one in good_rows():
        append_row(tmp_path / "a" / "rows.jsonl", one)
    append_row(tmp_path / "b" / "rows.jsonl", row(subject="m9"))
    text = write_tables([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert (tmp_path / "out" / "tables.md").read_text() == text
    found = json.loads((tmp_path / "out" / "tables.json").read_text())
    assert found["models"]["backdoored"] == 6
    assert "| model verdict | AUROC of the score | ≥ 0.990 | 1.000 (" in text


def test_every_model_has_a_line_with_what_was_said_and_what_is_true() -> None:
    text = render_markdown(summary([*good_rows(), row(subject="tuned", split="tune", labels=[4])]))
    assert "| m0 | cifar10, report | badnets | backdoored | 0.97 | 3 (3) | 0.930 → 0.920 |" in text
    assert "| tuned | cifar10, tune | badnets | backdoored | 0.97 | 4 (3) |" in text
    assert "| c0 | cifar10, report | seed | no_evidence | 0.05 | – (3) |" not in text
    assert "| c0 | cifar10, report | seed | no_evidence | 0.05 | – (–) | 0.930 | – |" in text


def test_scores_are_counted_by_range_with_their_truth() -> None:
    rows = [row(score=1.0), row(subject="m1", score=0.6), row(CLEAN, score=0.6, subject="c1")]
    found = summary([*rows, row(CLEAN, score=0.0), row(subject="weak", asr_before=0.1)])
    bins = {(b["low"], b["high"]): (b["models"], b["backdoored"])
            for b in found["reliability"]["bins"]}
    assert bins[0.8, 1.0] == (1, 1) and bins[0.5, 0.8] == (2, 1) and bins[0.0, 0.05] == (1, 0)
    assert found["reliability"]["brier"] == pytest.approx((0.16 + 0.36) / 4)
    assert "0.50 to 0.80" in render_markdown(found)


def test_parts_show_counts_and_what_is_left_where_accused() -> None:
    rows = [*good_rows(), row(subject="hard", verdict="no_evidence", asr_after=0.9)]
    rows = [row(r, flagged_triggered=0.9, flagged_clean=0.02) for r in rows]
    text = render_markdown(summary(rows))
    (line,) = (line for line in text.splitlines() if line.startswith("| cifar10, report |"))
    assert "| 5 of 6 | 0 of 5 |" in line and "| 1.0 % (worst 1.0 %) |" in line
    assert "| 90.0 % | 2.0 % |" in line
    assert summary(rows)["by_part_and_split"]["cifar10, report"]["asr_after"]["value"] > 0.1


def test_what_is_behind_a_baseline_is_named() -> None:
    theirs = [row(r, method="anp", budget="paper", verdict=None, score=None, labels=None,
                  asr_after=r.asr_after and 0.0) for r in good_rows()]
    text = render_markdown(summary(good_rows() + theirs))
    assert "Behind, ours minus theirs: true ASR after removal, mean against ANP" in text


def test_numbers_of_images_and_methods_are_compared_on_the_same_models() -> None:
    few = [row(r, clean_count=50, asr_after=r.asr_after and 0.5) for r in good_rows()[:2]]
    theirs = [row(r, method="anp", budget="paper", verdict=None) for r in good_rows()[:3]]
    found = summary([*good_rows(), *few, *theirs])
    assert [found["counts"][count]["asr_after"]["n"] for count in ("500", "50")] == [2, 2]
    assert [found["methods"][name]["asr_after"]["n"] for name in ("ours", "anp")] == [3, 3]
    text = render_markdown(found)
    assert "On the 2 models that were scanned" in text and "On the 3 models on which" in text
