"""What a scan is expected to cost is what its stages then report."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
import torch

from rnp_core import expected_work as expected_work_module
from rnp_core.config import ScanConfig, preset_config
from rnp_core.expected_work import expected_work
from rnp_core.inversion import InversionConfig, RecoveredTrigger
from rnp_core.progress import Progress, training_work
from rnp_core.stages import triggers
from rnp_core.stages.filter_mask import find_maskable_layers
from rnp_core.stages.margins import margins_of_all
from rnp_core.stages.recover import recover
from rnp_core.stages.repair import RepairConfig
from rnp_core.stages.sinusoids import SURVEY_WORK, SinusoidSurvey
from rnp_core.stages.source_specific import SOURCE_SPECIFIC, searches
from tests.helpers.models import planted_model
from tests.helpers.sets import quadrant_set
from tests.helpers.triggers import sized_trigger

SET = quadrant_set(10)


def expect(config: ScanConfig, classes: int = 10, **changes: object) -> dict[str, float]:
    facts: dict[str, object] = {"images": 100, "suspects": 0, "batch_norms": True}
    return expected_work(config, classes=classes, **{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [2, 12, 43, 1000])
@pytest.mark.parametrize("batch_statistics", [True, False])
@pytest.mark.parametrize("share", [0.2, 0.5])
@pytest.mark.parametrize("preset", ["quick", "standard"])
def test_a_search_in_doubt_takes_what_was_expected(
    classes: int, batch_statistics: bool, share: float, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = 0.0

    def invert(
        model: object, images: object, labels: Sequence[int], **options: object
    ) -> tuple[RecoveredTrigger, ...]:
        nonlocal spent
        config = options["config"]
        assert isinstance(config, InversionConfig)
        spent += config.work(len(labels))
        return tuple(sized_trigger(k, 20.0, kind=str(options["kind"])) for k in labels)

    def survey(*_: object, **options: object) -> SinusoidSurvey:
        nonlocal spent
        spent += SURVEY_WORK
        shares, trials = torch.full((classes,), 0.3), torch.full((classes,), 72)
        return SinusoidSurvey(shares, trials, torch.ones(classes, 4))

    def some_sources(
        model: object, images: object, labels: Sequence[int], **options: object
    ) -> tuple[RecoveredTrigger, ...]:
        config = options["config"]
        assert isinstance(config, InversionConfig)
        for settings in searches(config):
            found = invert(model, images, labels, kind=SOURCE_SPECIFIC, config=settings)
        return found

    def sources_again(
        model: object, images: object, found: Sequence[RecoveredTrigger], **options: object
    ) -> tuple[RecoveredTrigger, ...]:
        labels = [trigger.label for trigger in found]
        return invert(model, images, labels, kind=SOURCE_SPECIFIC, **options)

    monkeypatch.setattr(triggers, "invert", invert)
    monkeypatch.setattr(triggers, "survey_sinusoids", survey)
    monkeypatch.setattr(triggers, "find_source_specific", some_sources)
    monkeypatch.setattr(triggers, "settle_again", sources_again)
    monkeypatch.setattr(triggers, "PROMISING", 2.0)
    monkeypatch.setattr(expected_work_module, "_SETTLING", 1.0)
    monkeypatch.setattr(expected_work_module, "_SOURCES_AGAIN", 1.0)
    monkeypatch.setattr(expected_work_module, "_DOUBTFUL", 1.0)
    config = preset_config(preset)
    shares = torch.full((classes,), (1 - share) / (classes - 1))
    shares[0] = share
    triggers.recover_triggers(
        planted_model(),
        SET,
        shares,
        used_batch_statistics=batch_statistics,
        config=config.invert_stage,
        enough_score=2.0,
        doubtful_score=2.0,
    )
    work = expect(config, classes, batch_norms=batch_statistics, share=float(shares.max()))
    assert work["triggers"] == pytest.approx(spent)


@pytest.mark.parametrize("max_labels", [3, 64])
def test_margins_and_recovery_report_what_was_expected(max_labels: int) -> None:
    model, seen = planted_model(), []
    config = dataclasses.replace(
        preset_config("quick"),
        max_labels=max_labels,
        margin_stage=dataclasses.replace(ScanConfig().margin_stage, steps=8),
        recover_stage=dataclasses.replace(ScanConfig().recover_stage, steps=2, batch_size=8),
    )

    def note(progress: Progress) -> None:
        seen.append((progress.stage, progress.work))

    margins_of_all(model, max_labels=max_labels, config=config.margin_stage, on_progress=note)
    layers = find_maskable_layers(model, SET.images[:2])
    recover(model, layers, SET, config=config.recover_stage, on_progress=note)
    work = expect(config, model.num_classes)
    for stage in ("margins", "recover"):
        assert sum(own for name, own in seen if name == stage) == pytest.approx(work[stage])


def test_work_follows_what_is_known() -> None:
    config = preset_config("standard")
    open_, innocent, accused = (expect(config, accused=known) for known in (None, False, True))
    assert innocent["removal"] == 0 < open_["removal"] < accused["removal"]
    assert innocent["attributions"] == 0 < accused["attributions"]
    assert expect(config, suspects=100)["samples"] > 0 == innocent["samples"]
    thrifty = dataclasses.replace(config, repair=False)
    assert expect(thrifty, accused=True)["removal"] < accused["removal"]


def test_a_repair_step_counts_its_triggered_images() -> None:
    config = RepairConfig(batch_size=100, triggered_share=0.17, copies=3)
    assert config.triggered == 15
    work = config.work_of_a_step(100, batch_norms=True)
    clean = training_work(100, batch_norms=True)
    assert clean + 2 * 15 < work < 2 * clean
