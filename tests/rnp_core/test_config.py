"""Settings and presets."""

from __future__ import annotations

import dataclasses
import json

import pytest

from rnp_core.config import PRESETS, ScanConfig, preset_config
from rnp_core.errors import ConfigError


@pytest.mark.parametrize(
    "changes",
    [
        {"holdout_share": 0.0},
        {"holdout_share": 1.0},
        {"max_labels": 2},
        {"max_sample_fpr": 1.0},
        {"max_sample_fpr": -0.1},
        {"suspicious_score": 0.9, "backdoored_score": 0.8},
        {"backdoored_score": 1.0},
        {"attributed_samples": -1},
        {"min_clean_accuracy": 1.01},
        {"min_clean_accuracy": -0.01},
        {"min_clean_accuracy": float("nan")},
        {"seed": -1},
        {"seed": 2**63},
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        ScanConfig(**changes)  # type: ignore[arg-type]


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a preset among quick, standard, thorough"):
        preset_config("fast")


@pytest.mark.parametrize("name", PRESETS)
def test_every_stage_draws_from_the_seed(name: str) -> None:
    config = preset_config(name, seed=5)
    stages = (
        config.unlearn_stage,
        config.recover_stage,
        config.invert_stage,
        config.repair_stage,
    )
    assert config.preset == name
    assert {stage.seed for stage in stages} == {config.seed} == {5}


def test_presets_spend_more_in_order() -> None:
    steps = [preset_config(name).invert_stage.steps for name in PRESETS]
    assert steps == sorted(set(steps))
    assert preset_config("standard").invert_stage == ScanConfig().invert_stage
    assert preset_config("standard") == ScanConfig()


BUDGETED = ("recover_stage", "margin_stage", "invert_stage", "repair_stage")


def test_the_quick_preset_takes_six_tenths_of_the_steps_of_four_stages() -> None:
    quick, standard = preset_config("quick"), preset_config("standard")
    for stage in BUDGETED:
        assert getattr(quick, stage).steps == round(0.6 * getattr(standard, stage).steps)
    assert quick.unlearn_stage == standard.unlearn_stage


def test_settings_are_plain_values() -> None:
    assert json.loads(json.dumps(ScanConfig().to_dict()))["invert_stage"]["steps"] > 0


def test_settings_of_one_scan_do_not_reach_another() -> None:
    first, second = ScanConfig(), ScanConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.seed = 3  # type: ignore[misc]
    assert first == second
    assert dataclasses.replace(first, seed=3) != second


def test_a_preset_changes_budgets_alone() -> None:
    def decisions(name: str) -> dict[str, object]:
        settings = preset_config(name).to_dict()
        for stage in BUDGETED:
            settings[stage].pop("steps")
        return {**settings, "preset": ""}

    assert decisions("quick") == decisions("standard") == decisions("thorough")
