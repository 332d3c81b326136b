"""Scores added up anew from the evidence that rows keep."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from benchmarks.ours import label_notes
from benchmarks.rescoring import TERMS, rescore
from benchmarks.rows import Row
from benchmarks.summary import summarise
from benchmarks.tables import render_markdown
from rnp_core.stages.target_label import weigh_labels
from tests.helpers.triggers import sized_trigger

BLANK = Row(
    subject="m0", method="ours", clean_count=500, seed=0, budget="standard", part="cifar10",
    split="report", attack="badnets", control="", architecture="resnet18", targets=[3],
    verdict="backdoored", asr_before=1.0,
)  # fmt: skip


def backdoored(*, used_batch_statistics: bool = True, **changes: Any) -> Row:
    """A model whose label 3 has the smallest patch, the largest share and the largest margin."""
    shares = torch.full((10,), 0.06)
    shares[3] = 0.46
    labels = weigh_labels(
        shares,
        {"patch": [sized_trigger(label, 8.0 if label == 3 else 20.0) for label in range(10)]},
        margins=torch.where(torch.arange(10) == 3, 30.0, 10.0),
        used_batch_statistics=used_batch_statistics,
    )
    values = {"score": labels[3].score, "notes": {"evidence": label_notes(labels)}, **changes}
    return dataclasses.replace(BLANK, **values)


@pytest.mark.parametrize("used", [True, False])
def test_each_term_is_taken_out_of_the_score(used: bool) -> None:
    row = backdoored(used_batch_statistics=used)
    found = {new.method.removeprefix("ours-"): new for new in rescore([row])}
    assert set(found) == set(TERMS)
    for term in ("no-share", "no-size", "no-margin"):
        assert found[term].score < row.score
    assert (found["no-agreement"].score < row.score) == used
    assert found["no-universal"].score == pytest.approx(row.score)
    assert found["no-universal"].first_label_right and found["no-universal"].targets_found
    assert found["margin-alone"].score < 0.5 and found["margin-alone"].verdict == "no_evidence"
    assert found["margin-alone"].labels == [] and not found["margin-alone"].first_label_right
    assert found["no-share"].seconds is None and found["no-share"].asr_after is None


def test_each_kind_is_taken_out_of_the_agreement() -> None:
    row = backdoored()
    found = {new.method.removeprefix("ours-"): new.score for new in rescore([row])}
    logit = {name: math.log(score / (1 - score)) for name, score in found.items()}
    whole = math.log(row.score / (1 - row.score))
    for kind in ("patch", "margin"):
        assert whole - logit[f"no-{kind}-agreement"] == pytest.approx(math.log(5))
    assert logit["no-lead-agreement"] == pytest.approx(whole)
    assert whole - logit["no-agreement"] == pytest.approx(2 * math.log(5))


def test_a_network_whose_labels_differ_is_suspicious_under_the_usual_spread() -> None:
    row = backdoored()
    same = {new.method.removeprefix("ours-"): new.score for new in rescore([row])}
    assert same["usual-size-spread"] == pytest.approx(row.score)
    assert same["usual-margin-spread"] == pytest.approx(row.score)
    sizes = torch.logspace(0, 1.3, 10).tolist()
    labels = weigh_labels(
        torch.full((10,), 0.1),
        {"patch": [sized_trigger(label, size) for label, size in enumerate(sizes)]},
        margins=torch.tensor(sizes[::-1]),
    )
    uneven = backdoored(
        score=max(label.score for label in labels), notes={"evidence": label_notes(labels)}
    )
    found = {new.method.removeprefix("ours-"): new.score for new in rescore([uneven])}
    assert found["usual-size-spread"] > uneven.score
    assert found["usual-margin-spread"] > uneven.score


def test_beyond_the_usual_number_of_classes_an_agreement_would_count_more() -> None:
    shares = torch.full((43,), 0.01)
    shares[3] = 0.58
    labels = weigh_labels(
        shares, {"patch": [sized_trigger(label, 20.0 - (label == 3)) for label in range(43)]}
    )
    row = backdoored(score=labels[3].score, notes={"evidence": label_notes(labels)})
    found = {new.method.removeprefix("ours-"): new.score for new in rescore([row])}
    logit = {name: math.log(score / (1 - score)) for name, score in found.items()}
    whole = math.log(row.score / (1 - row.score))
    assert logit["agreement-of-any-number"] - whole == pytest.approx(math.log(43 / 20))


def test_a_trigger_to_any_other_class_counts_unless_left_out() -> None:
    row = backdoored(score=0.999)
    found = {new.method.removeprefix("ours-"): new for new in rescore([row])}
    assert found["no-size"].score == 0.999
    assert found["no-universal"].score < 0.999


def test_what_was_withheld_stays_withheld() -> None:
    row = backdoored(verdict="inconclusive")
    assert {new.verdict for new in rescore([row])} == {"inconclusive"}


def test_rows_of_other_weights_and_without_evidence_are_left_out() -> None:
    row = backdoored()
    other = [{**entry, "score": 0.5} for entry in row.notes["evidence"]]
    assert rescore([dataclasses.replace(row, notes={"evidence": other})]) == []
    assert rescore([dataclasses.replace(row, notes={})]) == []
    assert rescore([dataclasses.replace(row, status="failed")]) == []


def test_the_tables_show_them() -> None:
    clean = dataclasses.replace(
        backdoored(), subject="c0", attack="none", control="seed", targets=[], asr_before=None
    )
    text = render_markdown(summarise([backdoored(), clean], environments={}, settings={}))
    assert "score without the largest margins" in text and "added up anew" in text
