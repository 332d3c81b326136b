"""Removal: prune what the evidence asks for, then repair, and say which of the two happened."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rnp_core.inversion import ANY_LABEL, InversionConfig, flip_rate, invert
from rnp_core.model import SuspectModel
from rnp_core.stages import removal
from rnp_core.stages.filter_mask import find_maskable_layers
from rnp_core.stages.recover import RecoverResult
from rnp_core.stages.removal import Recheck, invert_again, remove_backdoor
from rnp_core.stages.repair import RepairConfig
from rnp_core.stages.sinusoids import SINUSOID, USUAL_LEAD, SinusoidSurvey, survey_sinusoids
from rnp_core.stages.target_label import LabelEvidence
from tests.helpers.models import PLANTED, TARGET, Shifting, planted_model, suspect
from tests.helpers.sets import quadrant_set
from tests.helpers.triggers import corner_patch, untrained_trigger

SET = quadrant_set(8)
SHORT = RepairConfig(steps=3, warm_up=1, batch_size=8)


def recovered(model: SuspectModel) -> RecoverResult:
    """Masks of 1, but 0 for the planted filter."""
    layers = find_maskable_layers(model, SET.images[:2])
    mask = {layer.name: torch.ones(layer.channels) for layer in layers}
    mask["norm"][PLANTED] = 0.0
    return RecoverResult(tuple(layers), mask, mask, torch.ones(1), torch.ones(1, 1))


def accused(kind: str = "patch") -> list[LabelEvidence]:
    return [LabelEvidence(TARGET, 0.9, 4.0, 0.2, 5.0, kind, 1.0, 2.0, 0.2, 0.0, 0.0, 0.95)]


def test_waves_are_removed_with_additive_ones_and_looked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    surveyed: list[SuspectModel] = []

    def survey(model: SuspectModel, *arguments: object, **options: object) -> SinusoidSurvey:
        surveyed.append(model)
        return survey_sinusoids(model, SET)

    monkeypatch.setattr(removal, "survey_sinusoids", survey)
    model = planted_model()
    found = {
        "patch": [corner_patch()],
        SINUSOID: [untrained_trigger(SINUSOID)],
        "additive": [untrained_trigger("additive")],
    }
    rows = [dataclasses.replace(accused()[0], sinusoid_lead=USUAL_LEAD + 1)]
    result = remove_backdoor(
        model, recovered(model), SET, rows, found,
        repairing=SHORT, inverting=InversionConfig(steps=2, batch_size=2),
    )  # fmt: skip
    assert [trigger.kind for trigger in result.triggers] == [SINUSOID, "additive"]
    assert {check.trigger.kind for check in result.rechecks} == {SINUSOID, "additive"}
    assert surveyed and all(model is not other for other in surveyed)


def test_pruning_alone_leaves_every_other_weight() -> None:
    model = planted_model()
    found = {"patch": [corner_patch()]}
    result = remove_backdoor(model, recovered(model), SET, accused(), found, repairing=None)
    assert not result.fine_tuned
    assert [(f.layer, f.index) for f in result.pruned.filters] == [("norm", PLANTED)]
    assert result.pruned.disarmed
    assert flip_rate(result.model, corner_patch(), SET) == 0.0
    kept = torch.arange(8) != PLANTED
    before, after = model.network.state_dict(), result.model.network.state_dict()
    assert torch.equal(before["norm.weight"][kept], after["norm.weight"][kept])
    assert torch.equal(before["head.weight"], after["head.weight"])


def test_repair_is_reported_and_keeps_pruned_filters_silent() -> None:
    model = planted_model()
    found = {"patch": [corner_patch()]}
    result = remove_backdoor(model, recovered(model), SET, accused(), found, repairing=SHORT)
    assert result.fine_tuned
    state = result.model.network.state_dict()
    assert state["norm.weight"][PLANTED] == 0.0
    assert state["norm.bias"][PLANTED] == 0.0


def test_the_kind_that_accused_is_the_one_removed() -> None:
    model = planted_model()
    found = {"patch": [corner_patch()], "additive": [untrained_trigger("additive")]}
    result = remove_backdoor(
        model, recovered(model), SET, accused("additive"), found, repairing=None
    )
    assert [trigger.kind for trigger in result.triggers] == ["additive"]


def test_without_a_suspect_the_model_stays_as_it_is() -> None:
    model = planted_model()
    result = remove_backdoor(model, recovered(model), SET, [], {}, repairing=SHORT)
    assert not result.fine_tuned
    assert result.pruned.filters == ()
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, result.model.network.state_dict()[name])


def test_of_several_triggers_for_a_label_the_smallest_is_removed() -> None:
    model = planted_model()
    large = dataclasses.replace(corner_patch(), size=9.0)
    found = {"patch": [large, corner_patch(), dataclasses.replace(corner_patch(0), size=1.0)]}
    result = remove_backdoor(model, recovered(model), SET, accused(), found, repairing=None)
    assert [(t.label, t.size) for t in result.triggers] == [(TARGET, 4.0)]


def test_a_trigger_may_grow_to_the_median_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[list[float]] = []

    def recorded_repair(model: SuspectModel, *others: object, **options: object) -> SuspectModel:
        limits.append(options["size_limits"])  # type: ignore[arg-type]
        assert options["teacher"] is given
        return model

    monkeypatch.setattr("rnp_core.stages.removal.repair", recorded_repair)
    given = planted_model()
    others = [dataclasses.replace(corner_patch(k), size=s) for k, s in ((0, 30.0), (2, 50.0))]
    found = {"patch": [corner_patch(), *others], "warp": [untrained_trigger("warp")]}
    remove_backdoor(given, recovered(given), SET, accused(), found, repairing=SHORT)
    assert limits == [[30.0]]


def test_a_suspect_without_a_trigger_speaks_for_no_pruning() -> None:
    model = planted_model()
    result = remove_backdoor(model, recovered(model), SET, accused(""), {}, repairing=SHORT)
    assert (result.triggers, result.pruned.filters, result.fine_tuned) == ((), (), False)


def test_a_backdoor_without_a_single_target_is_repaired() -> None:
    model = suspect(Shifting())
    config = InversionConfig(steps=120)
    (universal,) = invert(model, SET, [ANY_LABEL], config=config)
    found = {"patch": invert(model, SET, range(4), config=config)}
    result = remove_backdoor(
        model, None, SET, [], found, universal=universal, inverting=config,
        repairing=RepairConfig(steps=60, learning_rate=0.1, triggered_share=1.0),
    )
    (strong,) = result.strong
    assert result.triggers == (universal,)
    assert result.fine_tuned and strong.label == ANY_LABEL
    assert strong.flip_rate >= universal.flip_rate
    before, after = (flip_rate(m, strong, SET) for m in (model, result.model))
    assert after < before / 2


def test_inverting_again_tells_whether_a_label_still_stands_out() -> None:
    model, config = planted_model(), InversionConfig(steps=60)
    (before,) = invert_again(model, SET, [corner_patch()], config=config)
    assert before.stands_out and before.compared == 3
    result = remove_backdoor(
        model, recovered(model), SET, accused(), {"patch": [corner_patch()]}, inverting=config
    )
    (after,) = result.rechecks
    assert after.trigger.label == TARGET and after.ratio > before.ratio
    assert not after.stands_out


def test_a_label_that_still_stands_out_is_repaired_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, repaired = iter([0.2, 1.0]), []

    def check(model: SuspectModel, **settings: object) -> tuple[Recheck, ...]:
        return (Recheck(corner_patch(), next(found), 7.0, 5),)

    def mend(model: SuspectModel, *_: object, **settings: object) -> SuspectModel:
        repaired.append(settings["size_limits"])
        return model.copy()

    monkeypatch.setattr(removal, "invert_again", check)
    monkeypatch.setattr(removal, "repair", mend)
    result = remove_backdoor(planted_model(), None, SET, accused(), {"patch": [corner_patch()]})
    assert repaired[1:] == [[7.0]] and next(found, None) is None
    assert result.fine_tuned and not result.rechecks[0].stands_out
