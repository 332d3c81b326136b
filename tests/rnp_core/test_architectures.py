"""Recognition of architectures from tensor names and shapes, and the definitions themselves."""

from __future__ import annotations

import io
import json
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from rnp_core.architectures import (
    MisfitError,
    Recognised,
    build,
    list_architectures,
    load_callable,
    recognise,
    strip_prefixes,
)
from rnp_core.architectures.mismatch import Mismatch
from rnp_core.architectures.recognise import compare
from rnp_core.architectures.resnet import resnet
from rnp_core.architectures.vit import SelfAttention
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
    (
        "vit_b_16",
        {"image_size": 32, "patch_size": 8, "depth": 2, "width": 16, "heads": 2, "hidden": 8},
        32,
    ),
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


@pytest.mark.parametrize(("name", "parameters", "side"), SMALL, ids=IDS)
def test_round_trip(name: str, parameters: dict[str, Any], side: int) -> None:
    network = settle(build(name, num_classes=7, **parameters))
    found = recognise(network.state_dict())
    assert found.num_classes == 7
    assert found.in_channels == parameters.get("in_channels", found.in_channels)
    images = torch.rand(2, found.in_channels, side, side)
    expected = network(images)
    assert expected.shape == (2, 7)
    same = False
    for variant in found.variants:
        twin = variant.build().eval()
        twin.load_state_dict(network.state_dict(), strict=True)
        same = same or (fits(twin, images) and torch.equal(twin(images), expected))
    assert same


def fits(network: nn.Module, images: Tensor) -> bool:
    """Whether the images go through; a variant may assume another size."""
    try:
        network(images)
    except RuntimeError:
        return False
    return True


def expect_error(state: Mapping[str, Tensor], **options: Any) -> str:
    with pytest.raises(ArchitectureError) as caught:
        recognise(state, **options)
    return str(caught.value)


def test_near_miss_lists_every_difference() -> None:
    state = dict(resnet(widths=THIN).state_dict())
    del state["layer3.1.bn2.weight"], state["layer4.0.conv2.weight"]
    del state["layer1.0.bn1.num_batches_tracked"]
    state["extra.weight"] = torch.zeros(3)
    state["layer2.1.bn1.bias"] = torch.zeros(5)
    state["layer4.0.conv2.weight"] = torch.zeros(16, 16, 5, 5)
    message = expect_error(state)
    assert "closest is resnet18, which differs in 4 tensor(s)" in message
    assert "missing layer3.1.bn2.weight" in message
    assert "unexpected extra.weight" in message
    assert "layer2.1.bn1.bias: expected (8,), got (5,)" in message
    assert "layer4.0.conv2.weight: expected (16, 16, 3, 3), got (16, 16, 5, 5)" in message
    assert "num_batches_tracked" not in message


def test_near_miss_without_the_tensors_that_name_the_family() -> None:
    state = dict(build("resnet18", num_classes=1000).state_dict())
    del state["conv1.weight"]
    message = expect_error(state)
    assert "closest is resnet18" in message
    assert "missing conv1.weight" in message


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"weight": torch.zeros(3)},
        {"a.b": torch.zeros(2, 2)},
        {"conv1.weight": torch.zeros(0, 3, 3, 3), "layer1.0.conv1.weight": torch.zeros(())},
        {"fc.weight": torch.zeros(10, 7)},
        {"forward.weight": torch.zeros(10, 3072), "forward.bias": torch.zeros(10)},
    ],
    ids=["empty", "no module", "odd leaf", "degenerate", "no image shape", "reserved name"],
)
def test_tensors_of_no_architecture_are_refused(state: dict[str, Tensor]) -> None:
    assert "look like none of them" in expect_error(state)


def test_batch_counters_may_be_absent() -> None:
    state = build("resnet20", num_classes=10).state_dict()
    old = {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}
    assert recognise(old).name == "resnet20"


def test_hint_restricts_the_families() -> None:
    state = build("resnet20", num_classes=10).state_dict()
    assert recognise(state, hint="resnet").name == "resnet20"
    assert recognise(state, hint="resnet18").name == "resnet20"
    assert "the closest is vgg" not in expect_error(state, hint="vgg")
    assert "expected the name of an architecture, got 'alexnet'" in expect_error(
        state, hint="alexnet"
    )


def test_large_network_is_recognised_without_its_weights() -> None:
    with torch.device("meta"):
        network = build("resnet152", num_classes=1000)
    found = recognise(network.state_dict())
    assert (found.name, found.input_size) == ("resnet152", 224)
    with torch.device("meta"):
        assert all(tensor.is_meta for tensor in found.network().state_dict().values())


@pytest.mark.parametrize("name", ["resnet152", "vgg19_bn", "densenet201", "wrn28-10", "vit_l_16"])
def test_recognition_takes_less_than_a_second(name: str) -> None:
    with torch.device("meta"):
        state = build(name, num_classes=10).state_dict()
    start = time.process_time()
    recognise(state)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("name", list_architectures())
def test_every_name_builds_and_is_recognised(name: str) -> None:
    with torch.device("meta"):
        network = build(name, num_classes=11)
        found = recognise(network.state_dict())
        assert len(compare(network.state_dict(), found.network())) == 0
    assert found.num_classes == 11


def test_attention_is_that_of_pytorch() -> None:
    ours = SelfAttention(8, 2)
    torch.nn.init.normal_(ours.in_proj_bias)
    theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    tokens = torch.randn(3, 5, 8, requires_grad=True)
    expected = theirs(tokens, tokens, tokens, need_weights=False)[0]
    assert torch.allclose(ours(tokens), expected, atol=1e-6)
    (own,) = torch.autograd.grad(ours(tokens).sin().sum(), [tokens])
    (wanted,) = torch.autograd.grad(expected.sin().sum(), [tokens])
    assert torch.allclose(own, wanted, atol=1e-6)


def test_sequential_indices_reveal_pools_and_activations() -> None:
    network = nn.Module()
    network.features = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(4),
        nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ELU(), nn.MaxPool2d(2), nn.Dropout(),
        nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ELU(), nn.MaxPool2d(2),
    )  # fmt: skip
    network.classifier = nn.Linear(8 * 8 * 8, 5)
    found = recognise(network.state_dict())
    steps = found.parameters["layers"]
    assert [step.activate for step in steps] == [True, False, False, True, False, True, False]
    assert [step.pool for step in steps] == [False, False, False, True, False, True, False]
    assert found.input_size == 32


class _Plain(nn.Module):
    """Convolutions with a pool after each, and two linear layers, under names that tell nothing."""

    def __init__(self, side: int, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(16 * (side // 4) ** 2, 8), nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        for conv in (self.conv1, self.conv2):
            images = nn.functional.max_pool2d(conv(images).relu(), 2)
        return self.fc2(self.fc1(images.flatten(1)).relu())


def _in_a_row(side: int, channels: int = 3) -> nn.Sequential:
    plain = _Plain(side, channels)
    steps = [plain.conv1, nn.ReLU(), nn.MaxPool2d(2), plain.conv2, nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*steps, nn.Flatten(), plain.fc1, nn.ReLU(), plain.fc2)


@pytest.mark.parametrize("make", [_Plain, _in_a_row])
@pytest.mark.parametrize(("side", "channels"), [(28, 1), (40, 1), (28, 3), (32, 3), (40, 3),
                                                (48, 3), (64, 3), (72, 3), (96, 3)])  # fmt: skip
def test_plain_networks_of_any_image_size_are_read(
    make: Callable[[int, int], nn.Module], side: int, channels: int
) -> None:
    network = make(side, channels)
    images = torch.rand(2, channels, side, side)
    expected = network(images)
    variants = [v for v in recognise(network.state_dict()).variants if v.input_size == side]
    twin = variants[0].build()
    twin.load_state_dict(network.state_dict())
    assert torch.equal(twin(images), expected)


def test_before_a_linear_layer_an_index_is_left_free_to_flatten() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(),
                            nn.Linear(4 * 32 * 32, 5))  # fmt: skip
    images = torch.rand(2, 3, 32, 32)
    twin = recognise(network.state_dict()).network()
    twin.load_state_dict(network.state_dict())
    assert torch.equal(twin(images), network(images))


def test_tensors_sorted_by_name_give_the_same_network() -> None:
    network = nn.Sequential()
    for index in range(12):
        network.add_module(f"conv{index + 1}", nn.Conv2d(3 if index == 0 else 4, 4, 3, padding=1))
        network.add_module(f"bn{index + 1}", nn.BatchNorm2d(4))
    network.add_module("fc", nn.Linear(4, 6))
    state = network.state_dict()
    ordered = recognise(state).parameters["layers"]
    shuffled = recognise({name: state[name] for name in sorted(state)}).parameters["layers"]
    assert [step.name for step in shuffled] == [step.name for step in ordered]


def test_variants_cover_activation_and_pooling() -> None:
    found = recognise(build("lenet", num_classes=10).state_dict())
    words = [variant.description for variant in found.variants]
    assert any(word.startswith("ELU, average pool") for word in words)
    assert words[0].startswith("ReLU, max pool")
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("prefixes", "expected"),
    [("", ""), ("module.", "module."), ("module._orig_mod.model.", "module._orig_mod.model.")],
)
def test_strip_prefixes(prefixes: str, expected: str) -> None:
    state = {f"{prefixes}{name}": torch.zeros(1) for name in ("b.weight", "a.weight")}
    stripped, removed = strip_prefixes(state)
    assert (list(stripped), removed) == (["b.weight", "a.weight"], expected)


def test_prefix_of_only_some_names_stays() -> None:
    state = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    assert strip_prefixes(state) == (state, "")
    assert strip_prefixes({}) == ({}, "")


def misfit(state: Mapping[str, Tensor], **options: str) -> MisfitError:
    with pytest.raises(MisfitError) as caught:
        recognise(state, **options)
    return caught.value


def zeros(name: str, **options: Any) -> dict[str, Tensor]:
    with torch.device("meta"):
        shapes = build(name, **{"num_classes": 10, **options}).state_dict()
    return {name: torch.zeros(t.shape) for name, t in shapes.items()}


def test_the_wrong_name_gets_the_one_that_fits_and_every_difference() -> None:
    error = misfit(zeros("resnet20"), hint="vgg16_bn")
    assert error.closest == "resnet20"
    assert "those of resnet20, so leave --arch out. vgg16_bn differs in" in str(error)
    lost = zeros("resnet20")
    del lost["linear.bias"], lost["layer1.0.conv1.weight"]
    error = misfit(lost, hint="vgg16_bn")
    assert error.closest == "resnet20"
    assert "the closest is resnet20, which differs in 2 tensor(s)" in str(error)


def test_a_misfit_counts_and_lists_everything() -> None:
    error = misfit(zeros("resnet20"), hint="vgg16_bn")
    assert error.name == "vgg16_bn"
    assert len(error.mismatch.missing) > 20 and len(error.mismatch.unexpected) > 20
    text = str(error)
    assert f"differs in {len(error.mismatch)} tensor(s)" in text
    assert text.count("\n  missing ") == len(error.mismatch.missing)
    assert text.count("\n  unexpected ") == len(error.mismatch.unexpected)


def test_a_list_of_differences_has_an_end() -> None:
    mismatch = Mismatch((), tuple(f"tensor{i}" for i in range(5000)), ())
    lines = mismatch.lines()
    assert len(lines) == 1001
    assert lines[-1] == "and 4000 more unexpected"


def test_half_of_a_network_still_names_it() -> None:
    whole = zeros("resnet18", num_classes=1000)
    half = dict(list(whole.items())[:60])
    error = misfit(half)
    assert error.closest == "resnet18"
    assert set(error.mismatch.missing) == {
        name for name in whole if name not in half and not name.endswith("num_batches_tracked")
    }


def test_build_errors() -> None:
    with pytest.raises(ArchitectureError, match="expected the name of an architecture"):
        build("alexnet", num_classes=10)
    with pytest.raises(ArchitectureError, match="cannot build resnet18"):
        build("resnet18", num_classes=10, colour="red")
    with pytest.raises(ArchitectureError, match="expected torchvision:NAME or timm:NAME"):
        build("keras:resnet18", num_classes=10)


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ArchitectureError, match="needs timm, which cannot be imported"):
        build("timm:resnet18", num_classes=10)


def test_load_callable(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("WIDTH = 5\n")
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\n"
        "from beside_it import WIDTH\n"
        "def net(num_classes): return nn.Linear(WIDTH, num_classes)\n"
        "def fixed(): return nn.Linear(WIDTH, 2)\n"
        "def broken(): raise KeyError('no weights')\n"
        "def text(): return 'network'\n"
        "VALUE = 3\n"
    )
    path = list(sys.path)
    assert load_callable(f"{file}:net", 4).out_features == 4
    assert load_callable(f"{file}:fixed", 4).out_features == 2
    with pytest.raises(ArchitectureError, match="raised KeyError: 'no weights'"):
        load_callable(f"{file}:broken", 4)
    with pytest.raises(ArchitectureError, match=r"return a torch.nn.Module, got str"):
        load_callable(f"{file}:text", 4)
    with pytest.raises(ArchitectureError, match="got nothing of that name"):
        load_callable(f"{file}:missing", 4)
    with pytest.raises(ArchitectureError, match="function or class VALUE in .*, got int"):
        load_callable(f"{file}:VALUE", 4)
    assert sys.path == path


def test_load_callable_refuses_bad_references(tmp_path: Path) -> None:
    for reference in ("mine.py", "mine:net", "mine.py:"):
        with pytest.raises(ArchitectureError, match="expected FILE.py:CALLABLE"):
            load_callable(reference, 4)
    with pytest.raises(ArchitectureError, match="No such file"):
        load_callable(f"{tmp_path}/none.py:net", 4)
    (tmp_path / "bad.py").write_text("import a_module_that_is_not_there\n")
    with pytest.raises(ArchitectureError, match="raised ModuleNotFoundError"):
        load_callable(f"{tmp_path}/bad.py:net", 4)


# Measured on 200 images, which for CIFAR-10 are training images of most models: the accuracy may
# exceed that of the card, which comes from test images.
CHECKPOINTS = {
    "abl-wrn16-1": "wrn16-1",
    "badnet-mnist": "lenet",
    "ibau-badnets": "plain_cnn",
    "ibau-gtsrb-trojanwm": "plain_cnn",
    "ibau-l2inv": "plain_cnn",
    "kabu-cnn": "plain_cnn",
    "mlp-mnist-clean": "mlp",
    "nad-wrn16-1-repaired": "wrn16-1",
    "plain-cnn-backdoored": "plain_cnn",
    "plain-cnn-clean": "plain_cnn",
    "resnet20-clean": "resnet20",
    "resnet56-clean": "resnet56",
}


def shared_images(dataset: str, count: int) -> tuple[Tensor, Tensor]:
    assert SHARED is not None
    if dataset == "gtsrb-roi32":
        with zipfile.ZipFile(SHARED / "data" / "gtsrb-roi32-test.zip") as archive:
            names = sorted(name for name in archive.namelist() if not name.endswith("/"))
            classes = sorted({name.split("/")[-2] for name in names})
            names = names[:: len(names) // count][:count]
            pictures = [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in names]
        pixels = np.stack([np.asarray(picture) for picture in pictures])
        labels = np.array([classes.index(name.split("/")[-2]) for name in names])
    else:
        file = {"cifar10": "cifar10-lossless-train4000.npz", "mnist": "mnist-test10000.npz"}
        with np.load(SHARED / "data" / file[dataset]) as arrays:
            pixels, labels = arrays["x"][:count], arrays["y"][:count]
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return images, torch.from_numpy(labels.astype(np.int64))


def accuracies(
    found: Recognised, state: Mapping[str, Tensor], images: Tensor, labels: Tensor
) -> list[float]:
    """Clean accuracy of each variant; 0 where the images do not fit it."""
    result = []
    for variant in found.variants:
        network = variant.build().eval()
        network.load_state_dict(state, strict=False)
        with torch.no_grad():
            fit = fits(network, images[:1])
            right = network(images).argmax(1) == labels if fit else torch.zeros(1)
        result.append(float(right.float().mean()))
    return result


@needs_shared
@pytest.mark.parametrize("folder", CHECKPOINTS)
def test_public_checkpoint_is_recognised_and_accurate(folder: str) -> None:
    assert SHARED is not None
    card = json.loads((SHARED / "checkpoints" / folder / "card.json").read_text())
    file = SHARED / "checkpoints" / folder / card["file"]
    loaded = torch.load(file, map_location="cpu", weights_only=True)
    state, _ = strip_prefixes(loaded.get("state_dict", loaded.get("net", loaded)))
    found = recognise(state)
    assert found.name == CHECKPOINTS[folder]
    assert found.num_classes == card.get("classes", 10)
    images, labels = shared_images(card["dataset"], 200)
    if card["norm"] is not None:
        mean, std = (torch.tensor(card["norm"][key]).view(1, -1, 1, 1) for key in ("mean", "std"))
        images = (images - mean) / std
    screened = accuracies(found, state, images[:32], labels[:32])
    best = found.variants[screened.index(max(screened))]
    network = best.build().eval()
    network.load_state_dict(state, strict=False)
    with torch.no_grad():
        accuracy = float((network(images).argmax(1) == labels).float().mean())
    assert accuracy > card.get("acc_lossless", card.get("acc")) - 0.05, best.description


def test_thousands_of_layers_are_read_in_seconds() -> None:
    state = {"conv0.weight": torch.zeros(1, 3, 1, 1, device="meta")}
    for index in range(1, 1000):
        state[f"conv{index}.weight"] = torch.zeros(1, 1, 1, 1, device="meta")
        state[f"layer{index}.0.conv1.weight"] = torch.zeros(1, 1, 1, 1, device="meta")
    state["fc.weight"] = torch.zeros(2, 1, device="meta")
    start = time.process_time()
    plain_only = {name: tensor for name, tensor in state.items() if "layer" not in name}
    assert recognise(plain_only).name == "plain_cnn"
    expect_error(state)
    assert time.process_time() - start < 10
