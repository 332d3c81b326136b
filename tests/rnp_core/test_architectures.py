"""Recognition of architectures from tensor names and shapes, and the definitions themselves."""

from __future__ import annotations

import io
import json
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from rnp_core.architectures import (
    Recognised,
    build,
    list_architectures,
    load_callable,
    recognise,
    strip_prefixes,
)
from rnp_core.architectures.recognise import compare
from rnp_core.architectures.resnet import resnet
from rnp_core.errors import ArchitectureError
from tests.helpers.shared import SHARED, needs_shared

THIN = (8, 8, 16, 16)
CIFAR_NAMES = {"shortcut_name": "shortcut", "head_name": "linear"}
MOBILE_BLOCKS = ((8, 8), (16, 8), (16, 8), *(((16, 8),) * 14))

# name, builder arguments, image side
SMALL: list[tuple[str, dict[str, Any], int]] = [
    ("resnet18", {"widths": THIN}, 64),
    ("resnet34", {"widths": THIN, "in_channels": 1}, 64),
    ("resnet50", {"widths": (4, 8, 8, 8)}, 64),
    ("resnet50", {"widths": (4, 4, 8, 8), "groups": 2, "inner_ratio": 2.0}, 64),
    ("resnet101", {"widths": (4, 4, 4, 4)}, 64),
    ("resnet18_cifar", {"widths": THIN}, 32),
    ("resnet18_cifar", {"widths": THIN, "pool_size": 2}, 64),
    ("resnet50_cifar", {"widths": (4, 4, 4, 4)}, 32),
    ("resnet18", {"widths": THIN, "stem": "cifar"}, 32),
    ("resnet20", {"widths": (4, 8, 16)}, 32),
    ("resnet20_b", {"widths": (4, 8, 16)}, 32),
    ("preactresnet18", {"widths": THIN}, 32),
    ("preactresnet34", {"widths": THIN, "final_norm": "bn"}, 32),
    ("preactresnet50", {"widths": (4, 4, 4, 4)}, 32),
    ("wrn16-1", {"widths": (4, 8, 16), "stem_width": 4}, 32),
    ("wrn16-2", {"widths": (8, 16, 32), "stem_width": 4, "in_channels": 1}, 32),
    ("vgg11", {"layout": (4, "M", 8, 8, "M"), "hidden": (16, 8), "pool_size": 2}, 32),
    ("vgg13_bn", {"layout": (4, 4, "M", 8, "M"), "hidden": (16, 16), "pool_size": 7}, 32),
    ("vgg16_cifar", {"layout": (4, 4, "M", 8, 8, "M", 8, "M", 8, "M", 8, "M")}, 32),
    ("mobilenet_v2", {"blocks": MOBILE_BLOCKS, "stem_width": 8, "last_width": 16}, 64),
    ("mobilenet_v2_cifar", {"blocks": MOBILE_BLOCKS, "stem_width": 8, "last_width": 16}, 32),
    ("densenet121", {"depths": (2, 3, 2, 2), "growth": 4}, 64),
    ("densenet100_cifar", {"depths": (2, 2, 2), "growth": 4}, 32),
    ("densenet121_cifar", {"depths": (2, 3, 2, 2), "growth": 4}, 32),
    ("efficientnet_b0", {"widths": (8,) * 7, "stem_width": 8, "last_width": 16}, 64),
    ("convnext_tiny", {"depths": (1, 1, 2, 1), "widths": (4, 8, 8, 8)}, 64),
    ("vit_b_16", {"image_size": 32, "patch_size": 8, "depth": 2, "width": 64, "heads": 1}, 32),
    ("plain_cnn", {}, 32),
    ("lenet", {}, 28),
    ("mlp", {"in_channels": 3}, 28),
]
IDS = [f"{name}-{number}" for number, (name, _, _) in enumerate(SMALL)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def settle(network: nn.Module) -> nn.Module:
    """Eval mode, with BatchNorm statistics that differ from the initial ones."""
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def channels_of(network: nn.Module, parameters: Mapping[str, Any]) -> int:
    first = next(iter(network.parameters()))
    return parameters.get("in_channels", first.shape[1] if first.ndim == 4 else 3)


@pytest.mark.parametrize(("name", "parameters", "side"), SMALL, ids=IDS)
def test_round_trip(name: str, parameters: dict[str, Any], side: int) -> None:
    network = settle(build(name, num_classes=7, **parameters))
    found = recognise(network.state_dict())
    assert found.num_classes == 7
    channels = found.in_channels
    if "in_channels" in parameters:
        assert channels == parameters["in_channels"]
    images = torch.rand(2, channels, side, side)
    expected = network(images)
    assert expected.shape == (2, 7)
    outputs = []
    for variant in found.variants:
        twin = variant.build().eval()
        twin.load_state_dict(network.state_dict(), strict=True)
        if "pool2" not in variant.description and variant.input_size in (side, found.input_size):
            outputs.append(twin(images) if fits(twin, images) else None)
    assert any(o is not None and torch.equal(o, expected) for o in outputs)


def fits(network: nn.Module, images: Tensor) -> bool:
    try:
        network(images)
    except RuntimeError:
        return False
    return True
