"""Which triggers a report shows in what order, and which filters it explains."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from rnp_core.explanation import shown_triggers, suspect_filters
from rnp_core.stage_results import StageResults
from rnp_core.stages.prune import PrunedFilter, PruneResult
from rnp_core.stages.recover import RecoverResult
from rnp_core.stages.removal import RemovalResult
from rnp_core.stages.target_label import weigh_labels
from rnp_core.stages.triggers import TriggerSearch
from rnp_core.stages.verdict import Judgement
from tests.helpers.models import suspect
from tests.helpers.triggers import sized_trigger

PATCHES = tuple(sized_trigger(label, 4.0 if label == 2 else 20.0 + label) for label in range(6))
WARPS = tuple(sized_trigger(label, 0.9, kind="warp") for label in (1, 2, 3))


def results(
    search: TriggerSearch | None, suspected: tuple[int, ...], *, wandering: bool = False
) -> StageResults:
    labels = weigh_labels(torch.full((6,), 1 / 6), search.by_kind) if search else ()
    judgement = Judgement("suspicious", 0.6, "", suspected, (), wandering)
    return StageResults(None, None, search, labels, None, judgement, None, None)


def shown(found: StageResults) -> list[tuple[int, str]]:
    return [(row.label, row.kind) for row in shown_triggers(found, min_flip_rate=0.5)]


def test_suspected_labels_show_every_kind_and_others_the_loudest() -> None:
    search = TriggerSearch({"patch": PATCHES, "warp": WARPS})
    rows = shown(results(search, (2,)))
    assert rows[:2] == [(2, "patch"), (2, "warp")]
    assert sorted(label for label, _ in rows[2:]) == [0, 1, 3, 4, 5]


def test_of_several_starts_the_smallest_is_shown() -> None:
    again = sized_trigger(2, 3.0)
    (first, *_) = shown_triggers(
        results(TriggerSearch({"patch": (*PATCHES, again)}), (2,)), min_flip_rate=0.5
    )
    assert first is again


def test_labels_of_the_first_round_alone_show_that() -> None:
    search = TriggerSearch({"patch": PATCHES[:5]}, screened=(sized_trigger(5, 90.0),))
    assert (5, "patch") in shown(results(search, ()))


def test_a_trigger_to_any_other_class_comes_first_where_it_alone_accuses() -> None:
    search = TriggerSearch({"patch": PATCHES}, universal=sized_trigger(-1, 2.0, kind="universal"))
    assert shown(results(search, (), wandering=True))[0] == (-1, "universal")
    assert shown(results(search, (2,), wandering=True))[-1] == (-1, "universal")
    assert (-1, "universal") not in shown(results(search, (2,)))


def test_without_a_search_there_is_nothing_to_show() -> None:
    assert shown(results(None, ())) == []


def removed(*pruned: tuple[str, int]) -> RemovalResult:
    model = suspect(nn.Flatten())
    filters = tuple(PrunedFilter(layer, index, 0.0, 1.0) for layer, index in pruned)
    return RemovalResult(model, PruneResult(model, filters, (), False), True, ())


def masks() -> RecoverResult:
    values = {"a": torch.linspace(0, 1, 20), "b": torch.full((20,), 0.1)}
    return RecoverResult((), values, values, torch.empty(0), torch.empty(0))


def test_the_filters_that_were_pruned_are_explained() -> None:
    found = dataclasses.replace(
        results(None, (2,)), removal=removed(("b", 3), ("a", 0), ("b", 1)), recovered=masks()
    )
    assert suspect_filters(found) == {"b": [3, 1], "a": [0]}


def test_where_none_was_pruned_those_are_that_recovered_least() -> None:
    found = dataclasses.replace(results(None, (2,)), removal=removed(), recovered=masks())
    assert suspect_filters(found) == {"a": [0, 1], "b": list(range(10))}


def test_without_a_removal_no_filter_is_suspect() -> None:
    assert suspect_filters(dataclasses.replace(results(None, ()), recovered=masks())) == {}
