"""Which triggers are recovered for which labels, seen with a recorded inversion."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from rnp_core.inversion import ANY_LABEL, InversionConfig, RecoveredTrigger
from rnp_core.stages import triggers
from rnp_core.stages.sinusoids import FEWEST_CLASSES, SinusoidSurvey
from rnp_core.stages.source_specific import SOURCE_SPECIFIC
from rnp_core.stages.target_label import UNIVERSAL_UP_TO
from rnp_core.stages.triggers import (
    COMPARED_LABELS,
    RESTARTS,
    SCREENED_FROM,
    SOURCES_AGAIN,
    TriggerSearch,
    recover_triggers,
)
from tests.helpers.models import planted_model
from tests.helpers.sets import quadrant_set
from tests.helpers.triggers import sized_trigger

SET = quadrant_set(3)


class Recorder:
    """Stands for the inversion: sizes by kind and label, 20 where nothing is said."""

    def __init__(self, sizes: dict[tuple[str, int], float]) -> None:
        self.sizes = sizes
        self.calls: list[tuple[str, list[int], InversionConfig]] = []
        self.surveys = 0
        self.wave_shares = torch.full((200,), 0.3)

    def survey(self, *_: object, **options: object) -> SinusoidSurvey:
        """Stands for the survey of sinusoids."""
        self.surveys += 1
        count = len(self.wave_shares)
        return SinusoidSurvey(self.wave_shares, torch.full((count,), 72), torch.ones(count, 4))

    def sources(
        self, model: object, defense_set: object, labels: Sequence[int], **options: object
    ) -> tuple[RecoveredTrigger, ...]:
        """Stands for the search of source-specific patches."""
        return self(model, defense_set, labels, kind=SOURCE_SPECIFIC, **options)

    def again(
        self,
        model: object,
        defense_set: object,
        found: Sequence[RecoveredTrigger],
        **options: object,
    ) -> tuple[RecoveredTrigger, ...]:
        """Stands for searching them anew."""
        return self.sources(model, defense_set, [t.label for t in found], **options)

    def __call__(
        self, model: object, defense_set: object, labels: Sequence[int], **options: object
    ) -> tuple[RecoveredTrigger, ...]:
        kind, config = options["kind"], options["config"]
        assert isinstance(kind, str)
        assert isinstance(config, InversionConfig)
        self.calls.append((kind, list(labels), config))
        return tuple(
            sized_trigger(k, self.sizes.get((kind, k), 20.0), kind=kind) for k in labels
        )


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder({})
    monkeypatch.setattr(triggers, "invert", recorder)
    monkeypatch.setattr(triggers, "survey_sinusoids", recorder.survey)
    monkeypatch.setattr(triggers, "find_source_specific", recorder.sources)
    monkeypatch.setattr(triggers, "settle_again", recorder.again)
    return recorder


def search(shares: torch.Tensor, **options: object) -> TriggerSearch:
    return recover_triggers(planted_model(), SET, shares, **options)  # type: ignore[arg-type]


def run(shares: torch.Tensor, **options: object) -> dict[str, tuple[RecoveredTrigger, ...]]:
    return search(shares, **options).by_kind


def leading(classes: int, label: int, share: float = 0.8) -> torch.Tensor:
    shares = torch.full((classes,), (1 - share) / (classes - 1))
    shares[label] = share
    return shares


ANY = [ANY_LABEL]
MILD = leading(10, 3, 0.25)
"""Label 3 leads, and not by enough for further starts of its own."""


def test_plain_evidence_needs_one_round(recorded: Recorder) -> None:
    recorded.sizes[("patch", 3)] = 2.0
    found = run(leading(10, 3))
    assert [kind for kind, _, _ in recorded.calls] == ["patch"]
    assert [t.label for t in found["patch"]] == list(range(10))


def test_doubt_brings_every_kind_and_a_second_start(recorded: Recorder) -> None:
    found = run(MILD, doubtful_score=0.005)
    rounds = [(kind, config.seed) for kind, labels, config in recorded.calls if labels != ANY]
    assert [kind for kind, _ in rounds[1:]] == ["additive", "warp", "patch", SOURCE_SPECIFIC]
    assert set(found) == {kind for kind, _ in rounds}
    assert {seed for kind, seed in rounds[1:] if kind == "patch"} != {rounds[0][1]}
    assert len(found["patch"]) > 10


@pytest.mark.parametrize("batch_statistics", [True, False])
def test_without_any_doubt_patches_start_once_where_shares_count(
    recorded: Recorder, batch_statistics: bool
) -> None:
    found = run(
        MILD, used_batch_statistics=batch_statistics, doubtful_score=0.5
    )
    assert (len(found["patch"]) == 10) == batch_statistics


def test_the_second_look_stops_at_enough_evidence(recorded: Recorder) -> None:
    recorded.sizes[("additive", 3)] = 1.0
    found = run(MILD)
    rounds = [(kind, labels == ANY) for kind, labels, _ in recorded.calls]
    assert rounds == [("patch", False), ("patch", True), ("additive", False)]
    assert set(found) == {"patch", "additive"}


def test_a_label_that_draws_a_large_share_gets_further_starts_first(recorded: Recorder) -> None:
    found = run(leading(10, 3))
    kind, labels, settings = recorded.calls[1]
    assert (kind, labels) == ("patch", [3] * RESTARTS)
    assert settings.seed != recorded.calls[0][2].seed
    assert sum(t.label == 3 for t in found["patch"][10:]) >= RESTARTS
    recorded.calls.clear()
    run(leading(10, 3), used_batch_statistics=False)  # where shares say little
    assert all(labels != [3] * RESTARTS for _, labels, _ in recorded.calls)


def test_the_second_look_has_leaders_and_a_control_group(recorded: Recorder) -> None:
    run(MILD)
    for kind, labels, _ in recorded.calls[1:]:
        if labels == ANY or kind == SOURCE_SPECIFIC:
            continue
        assert 3 in labels
        assert len(labels) == COMPARED_LABELS


@pytest.mark.parametrize(("size", "further"), [(1.0, 0), (9.0, SOURCES_AGAIN), (20.0, 0)])
def test_sources_are_searched_again_for_the_leading_labels_in_doubt(
    recorded: Recorder, size: float, further: int
) -> None:
    recorded.sizes[(SOURCE_SPECIFIC, 7)] = size
    found = run(MILD)[SOURCE_SPECIFIC]
    first, *again = [
        (labels, config.seed) for kind, labels, config in recorded.calls if kind == SOURCE_SPECIFIC
    ]
    assert len(found) == len(first[0]) + further
    for labels, seed in again:
        assert labels[0] == 7 and seed != first[1]


def test_a_small_patch_to_any_other_class_needs_no_second_look(recorded: Recorder) -> None:
    recorded.sizes[("patch", ANY_LABEL)] = 2.0
    found = search(MILD)
    assert len(recorded.calls) == 2
    assert found.universal is not None and found.universal.size == 2.0


@pytest.mark.parametrize("classes", [2, UNIVERSAL_UP_TO + 1])
def test_with_few_or_many_classes_none_is_looked_for(recorded: Recorder, classes: int) -> None:
    assert search(leading(classes, 1, 0.5), max_labels=100).universal is None


def test_without_batch_norm_all_labels_start_again(recorded: Recorder) -> None:
    found = run(MILD, used_batch_statistics=False)
    assert [t.label for t in found["patch"][10:]] == list(range(10))


def test_many_labels_are_screened_with_a_small_budget(recorded: Recorder) -> None:
    classes = 50
    recorded.sizes[("patch", 41)] = 2.0  # small, though unlearning points elsewhere
    run(leading(classes, 7), max_labels=64)
    (_, screened, short), (_, full, long), *_ = recorded.calls
    assert screened == list(range(classes))
    assert short.steps < long.steps
    assert len(full) == SCREENED_FROM
    assert {7, 41} <= set(full)


def test_very_many_labels_are_cut_to_leaders_and_controls(recorded: Recorder) -> None:
    shares = torch.linspace(1, 2, 200)
    run(shares / shares.sum(), max_labels=30)
    screened = recorded.calls[0][1]
    assert len(screened) == 30
    assert set(range(185, 200)) <= set(screened)
    assert min(screened) < 100


def test_up_to_the_screening_limit_every_label_gets_the_full_budget(recorded: Recorder) -> None:
    recorded.sizes[("patch", 7)] = 1.0
    for classes, rounds in ((SCREENED_FROM, 1), (SCREENED_FROM + 1, 2)):
        recorded.calls.clear()
        run(leading(classes, 7))
        assert len(recorded.calls) == rounds
        assert recorded.calls[0][1] == list(range(classes))


def test_screened_labels_are_no_evidence_of_their_own(recorded: Recorder) -> None:
    recorded.sizes[("patch", 7)] = 1.0
    found = search(leading(50, 7))
    kept = recorded.calls[1][1]
    assert [t.label for t in found.by_kind["patch"]] == kept
    assert len(kept) == len(set(kept)) == SCREENED_FROM
    assert sorted([t.label for t in found.screened] + kept) == list(range(50))


def test_screening_compares_with_a_control_group_of_ordinary_labels(recorded: Recorder) -> None:
    for label in range(12):  # twelve small ones: ten of them may lead, the rest of the places is
        recorded.sizes[("patch", 30 + label)] = 1.0 + label  # for labels in between
    run(leading(50, 7))
    full = recorded.calls[1][1]
    assert set(range(30, 40)) <= set(full)
    ordinary = [label for label in full if not 30 <= label < 42]
    assert len(ordinary) >= 5


@pytest.mark.parametrize("enough", [0.0, 0.99])
def test_how_much_doubt_is_tolerated_can_be_set(recorded: Recorder, enough: float) -> None:
    recorded.sizes[("patch", 3)] = 8.0
    run(leading(10, 3), enough_score=enough)
    assert (len(recorded.calls) == 1) == (enough == 0.0)


@pytest.mark.parametrize(("size", "kinds"), [(15.0, ["patch", "additive"]), (1.0, ["patch"])])
def test_a_label_that_is_accused_without_a_small_patch_gets_an_additive_trigger(
    recorded: Recorder, size: float, kinds: list[str]
) -> None:
    recorded.sizes[("patch", 3)] = size
    found = run(leading(10, 3), enough_score=0.0)
    assert list(found) == kinds
    assert all(3 in labels for _, labels, _ in recorded.calls)


def test_two_classes_are_enough(recorded: Recorder) -> None:
    found = run(leading(2, 1))
    assert [t.label for t in found["patch"]][:2] == [0, 1]
    assert all(set(labels) <= {0, 1} for _, labels, _ in recorded.calls)


def test_the_second_patch_of_a_label_comes_beside_the_first(recorded: Recorder) -> None:
    found = run(MILD, doubtful_score=0.005)
    assert sum(t.label == 3 for t in found["patch"]) == 2
    assert len(found["additive"]) == len(found["warp"]) == COMPARED_LABELS


def test_a_label_that_waves_lead_to_gets_sinusoids_from_there(recorded: Recorder) -> None:
    recorded.wave_shares[7] = 0.99
    found = search(MILD)
    assert found.sinusoid_leads is not None and int(found.sinusoid_leads.argmax()) == 7
    (waved,) = [labels for kind, labels, _ in recorded.calls if kind == "sinusoid"]
    assert 7 in waved and len(waved) == COMPARED_LABELS
    # the score of the label is enough, but the backdoor may be another faint image
    assert list(found.by_kind) == ["patch", "sinusoid", "additive"]
    assert 7 in [trigger.label for trigger in found.by_kind["additive"]]


def test_waves_are_not_tried_on_plain_evidence_or_few_classes(recorded: Recorder) -> None:
    recorded.sizes[("patch", 3)] = 2.0
    assert search(leading(10, 3)).sinusoid_leads is None
    few = search(leading(FEWEST_CLASSES - 1, 1, 0.2))
    assert few.sinusoid_leads is None and recorded.surveys == 0
    recorded.sizes.clear()
    assert "sinusoid" not in search(MILD).by_kind and recorded.surveys == 1
