"""Pictures for the report get names of our own, whatever the network's layers are called."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from rnp_core.evidence_pictures import draw_filter_maps
from tests.helpers.models import suspect


def test_layer_names_of_the_file_do_not_become_file_names() -> None:
    torch.manual_seed(0)
    names = ["x" * 300, "up/and/away"]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers[names[0]] = nn.Conv2d(3, 4, 3, padding=1)
    layers[names[1]] = nn.Conv2d(4, 4, 3, padding=1)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flat"] = nn.Flatten()
    layers["head"] = nn.Linear(4, 3)
    pictures: dict[str, bytes] = {}
    drawn = draw_filter_maps(
        suspect(nn.Sequential(layers)),
        torch.rand(3, 12, 12),
        -1,
        0,
        {name: [0, 1] for name in names},
        pictures,
        seed=0,
    )
    assert sorted(pictures) == [
        "attributions/triggered-filters-1.png",
        "attributions/triggered-filters-2.png",
    ]
    assert [row.method for row in drawn.rows] == [f"filters:{name}" for name in names]
    assert drawn.skipped == {}
