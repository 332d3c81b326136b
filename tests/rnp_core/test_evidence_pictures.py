"""Pictures for the report: every row names what was drawn, in names of our own."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from rnp_core.evidence_pictures import draw_filter_maps
from rnp_core.inversion import KINDS
from rnp_core.report_rows import trigger_rows
from tests.helpers.models import suspect
from tests.helpers.sets import quadrant_set
from tests.helpers.triggers import untrained_trigger


def test_layer_names_of_the_file_do_not_become_file_names() -> None:
    torch.manual_seed(0)
    names = ["x" * 300, "up/and/away"]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers[names[0]] = nn.Conv2d(3, 4, 3, padding=1)
    layers[names[1]] = nn.Conv2d(4, 4, 3, padding=1)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flat"] = nn.Flatten()
    layers["head"] = nn.Linear(4, 3)
    drawn = draw_filter_maps(
        suspect(nn.Sequential(layers)),
        torch.rand(3, 12, 12),
        -1,
        0,
        {name: [0, 1] for name in names},
        seed=0,
    )
    assert sorted(drawn.pictures) == [
        "attributions/triggered-filters-1.png",
        "attributions/triggered-filters-2.png",
    ]
    assert [row.method for row in drawn.rows] == [f"filters:{name}" for name in names]
    assert drawn.skipped == {}


@pytest.mark.parametrize("kind", KINDS)
def test_the_row_of_a_trigger_names_every_picture_of_it(kind: str) -> None:
    model = suspect(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)))
    [row], pictures = trigger_rows([untrained_trigger(kind)], model, None, quadrant_set(2))
    named = [row.mask_png, row.pattern_png, row.preview_png, row.field_png]
    assert sorted(pictures) == sorted(name for name in named if name)
    assert bool(row.field_png) is (kind == "warp")
