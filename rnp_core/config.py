"""Settings of a whole scan, and the presets that people choose from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from rnp_core.errors import ConfigError
from rnp_core.inversion import InversionConfig
from rnp_core.ranges import check_range
from rnp_core.request import LARGEST_SEED, PRECISIONS, PRESETS
from rnp_core.stages.margins import MarginConfig
from rnp_core.stages.prune import PruneConfig
from rnp_core.stages.recover import RecoverConfig
from rnp_core.stages.repair import RepairConfig
from rnp_core.stages.target_label import ScoreWeights
from rnp_core.stages.unlearn import UnlearnConfig


@dataclass(frozen=True)
class ScanConfig:
    """Settings of :func:`rnp_core.pipeline.scan`; every stage has its own part.

    Raises:
        ConfigError: when a value is outside its range.
    """

    preset: str = "standard"
    precision: str = "auto"  # or "float32": never bfloat16, also where the hardware is fast at it
    seed: int = 0
    holdout_share: float = 0.3  # of the clean images, kept out of every fit for checks
    max_labels: int = 64  # that get margins and patch triggers, most of them a short round
    attributed_samples: int = 6  # flagged images that get attributions
    suspicious_score: float = 0.5  # backdoor_score from which a model is suspicious
    backdoored_score: float = 0.8  # and from which it is called backdoored
    min_clean_accuracy: float = 0.5  # below this share the verdict is inconclusive
    max_sample_fpr: float = 0.01  # share of clean images that triage may flag
    repair: bool = True  # fine-tune against the recovered triggers where pruning does not suffice
    unlearn_stage: UnlearnConfig = field(default_factory=UnlearnConfig)
    recover_stage: RecoverConfig = field(default_factory=RecoverConfig)
    margin_stage: MarginConfig = field(default_factory=MarginConfig)
    invert_stage: InversionConfig = field(default_factory=InversionConfig)
    prune_stage: PruneConfig = field(default_factory=PruneConfig)
    repair_stage: RepairConfig = field(default_factory=RepairConfig)
    weights: ScoreWeights = field(default_factory=ScoreWeights)

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"expected a precision among {', '.join(PRECISIONS)}, got {self.precision!r}"
            )
        if not 0 < self.holdout_share < 1:
            raise ConfigError(f"expected 0 < holdout_share < 1, got {self.holdout_share}")
        check_range(self, "max_labels", 3)
        if not 0 <= self.max_sample_fpr < 1:
            raise ConfigError(f"expected 0 <= max_sample_fpr < 1, got {self.max_sample_fpr}")
        check_range(self, "seed", 0, LARGEST_SEED)
        check_range(self, "attributed_samples", 0)
        check_range(self, "min_clean_accuracy", 0, 1)
        if not 0 < self.suspicious_score <= self.backdoored_score < 1:
            raise ConfigError(
                "expected 0 < suspicious_score <= backdoored_score < 1, "
                f"got {self.suspicious_score} and {self.backdoored_score}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the report."""
        return dataclasses.asdict(self)


def preset_config(name: str, *, seed: int = 0) -> ScanConfig:
    """Settings by preset name; every stage draws from ``seed``.

    ``quick`` takes 0.6 of the steps of recovery, margins, inversion and repair, ``thorough`` twice
    as many.

    Raises:
        ConfigError: for an unknown name.
    """
    if name not in PRESETS:
        raise ConfigError(f"expected a preset among {', '.join(PRESETS)}, got {name!r}")
    factor = {"quick": 0.6, "standard": 1.0, "thorough": 2.0}[name]
    return ScanConfig(
        preset=name,
        seed=seed,
        unlearn_stage=UnlearnConfig(seed=seed),
        recover_stage=RecoverConfig(seed=seed, steps=int(30 * factor)),
        margin_stage=MarginConfig(seed=seed, steps=int(60 * factor)),
        invert_stage=InversionConfig(seed=seed, steps=int(100 * factor)),
        repair_stage=RepairConfig(seed=seed, steps=int(40 * factor)),
    )
