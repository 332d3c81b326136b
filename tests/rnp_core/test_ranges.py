"""Every stage refuses settings outside their range, with one sentence."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rnp_core.errors import ConfigError
from rnp_core.inversion import InversionConfig
from rnp_core.stages.prune import PruneConfig
from rnp_core.stages.recover import RecoverConfig
from rnp_core.stages.repair import RepairConfig
from rnp_core.stages.target_label import ScoreWeights
from rnp_core.stages.unlearn import UnlearnConfig


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (UnlearnConfig, {"relative_step": 0.0}, "expected relative_step in"),
        (UnlearnConfig, {"batch_size": 1}, "expected batch_size of at least 2, got 1"),
        (RecoverConfig, {"steps": 0}, "expected steps of at least 1, got 0"),
        (RecoverConfig, {"learning_rate": math.nan}, "expected learning_rate in .*, got nan"),
        (RepairConfig, {"triggered_share": 1.5}, r"expected triggered_share in \[0, 1\], got 1.5"),
        (InversionConfig, {"batch_size": "8"}, "expected batch_size of at least 1, got '8'"),
        (PruneConfig, {"max_share": True}, "expected max_share"),
        (ScoreWeights, {"min_flip_rate": -1}, "expected min_flip_rate"),
    ],
)
def test_settings_outside_their_range_are_refused(
    kind: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**settings)
