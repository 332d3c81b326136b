"""Every layout, written the way its tool writes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rnp_core.checkpoints import inspect_checkpoint, load_checkpoint
from rnp_core.errors import CheckpointError
from tests.helpers import layout_files as files
from tests.helpers import pickle_ops as ops

LEGACY = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


@pytest.fixture
def model() -> torch.nn.Module:
    return files.network()


def check_state(checkpoint, model: torch.nn.Module) -> None:
    """The tensors are those of the network, and inspecting gave the same table."""
    expected = model.state_dict()
    assert set(checkpoint.state) == set(expected)
    if checkpoint.format != "safetensors":  # which sorts by type and name
        assert list(checkpoint.state) == list(expected)
    for name, value in expected.items():
        assert torch.equal(checkpoint.state[name], value), name
    inspection = inspect_checkpoint(checkpoint.path)
    table = {info.name: (info.shape, info.dtype) for info in inspection.tensors}
    shapes = {n: (tuple(v.shape), str(v.dtype).split(".")[1]) for n, v in expected.items()}
    assert table == shapes
    assert inspection.layout == checkpoint.layout
    assert inspection.sha256 == checkpoint.sha256
    assert inspection.refusal is None


@LEGACY
@pytest.mark.parametrize(
    ("wrapping", "layout"),
    [
        ((), "bare state dict"),
        (("state_dict",), "state_dict"),
        (("model",), "model"),
        (("net",), "net"),
        (("model_state_dict",), "model_state_dict"),
        (("ema",), "ema"),
        (("checkpoint", "model", "state_dict"), "checkpoint.model.state_dict"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "module._orig_mod."])
def test_state_dict_forms(tmp_path, model, wrapping, layout, prefix, legacy) -> None:
    value = files.prefixed(model.state_dict(), prefix)
    for key in reversed(wrapping):
        value = {"epoch": 3, key: value, "optimizer": {"state": {}, "param_groups": []}}
    checkpoint = load_checkpoint(files.save(value, tmp_path / "model.pth", legacy=legacy))
    check_state(checkpoint, model)
    assert checkpoint.layout == layout
    assert checkpoint.removed_prefix == prefix
    assert checkpoint.reader == "weights_only"
    assert checkpoint.format == ("torch-legacy" if legacy else "torch-zip")


def test_trained_weights_come_before_their_average(tmp_path, model) -> None:
    average = {name: value * 0 for name, value in model.state_dict().items()}
    value = {"ema": average, "model": model.state_dict()}
    check_state(load_checkpoint(files.save(value, tmp_path / "model.pth")), model)


def test_rnp_tar(tmp_path, model) -> None:
    checkpoint = load_checkpoint(files.rnp_tar(tmp_path, model))
    check_state(checkpoint, model)
    assert checkpoint.layout == "RNP checkpoint"


def test_backdoorbench_version_1(tmp_path, model) -> None:
    checkpoint = load_checkpoint(files.backdoorbench_v1(tmp_path, model))
    check_state(checkpoint, model)
    assert checkpoint.layout == "BackdoorBench attack_result (version 1)"
    hints = checkpoint.hints
    assert (hints.architecture, hints.num_classes) == ("preactresnet18", 4)
    assert hints.input_size == (3, 8, 8)
    assert hints.mean == (0.4914, 0.4822, 0.4465)
    train, test = checkpoint.offered
    assert (train.role, train.name, len(train)) == ("poisoned", "bd_train", 2)
    assert test.images.shape == (5, 8, 8, 3) and test.images.dtype == np.uint8
    assert test.labels.tolist() == [0] * 5


def test_backdoorbench_version_2(tmp_path, model) -> None:
    checkpoint = load_checkpoint(files.backdoorbench_v2(tmp_path, model))
    check_state(checkpoint, model)
    assert checkpoint.layout == "BackdoorBench attack_result (version 2)"
    assert checkpoint.reader == "inert"
    (test,) = checkpoint.offered
    assert [path.name for path in test.paths] == ["1.png", "2.png"]
    assert test.labels.tolist() == [0, 0] and test.original_labels.tolist() == [3, 3]


def test_backdoorbench_version_2_with_pickled_pictures(tmp_path, model) -> None:
    checkpoint = load_checkpoint(files.backdoorbench_v2_pictures(tmp_path, model))
    check_state(checkpoint, model)
    (test,) = checkpoint.offered
    assert test.images.shape == (2, 6, 8, 3)
    assert test.images[0, 0, 0].tolist() == [10, 20, 30]
    assert test.original_labels.tolist() == [3, 2]


def _array(shape: tuple[int, ...], kind: str, data: bytes = b"") -> bytes:
    """The pickle of a numpy array of any shape."""
    reconstruct = ops.call(
        "numpy.core.multiarray", "_reconstruct", ops.name("numpy", "ndarray"), ops.number(0)
    )
    dtype = ops.call("numpy", "dtype", ops.text(kind))
    raw = b"B" + len(data).to_bytes(4, "little") + data
    return (
        reconstruct
        + ops.group(b"N", ops.group(*map(ops.number, shape)), dtype, b"\x89", raw)
        + b"b"
    )


def _entry(labels: bytes) -> bytes:
    """A version 2 data set of one image file."""
    entry = ops.dictionary({"path": ops.text("./r/1.png"), "other_info": labels})
    values = {"data_dict": b"}" + ops.number(1) + entry + b"s", "save_folder_path": ops.text("./r")}
    return ops.dictionary({"bd_data_container": ops.dictionary(values)})


HOSTILE_SETS = {
    "complex": ops.dictionary(
        {
            "x": ops.tensor(
                (1, 1, 1, 2), (2, 2, 2, 1), kind="ComplexFloatStorage", elements=2, key="1"
            )
        }
    ),
    "no pixels": ops.dictionary({"x": ops.tensor((1, 3, 0, 5), (1, 1, 1, 1))}),
    "no images, sizes beyond 64 bits": ops.dictionary({"x": _array((0, 1 << 70, 1, 1), "u1")}),
    "infinite": ops.dictionary({"x": _array((1, 1, 1, 1), "f2", b"\x00\x7c")}),
    "labels are one number": _entry(ops.tensor((), ())),
    "labels of 60 million": _entry(
        ops.tensor((60_000_000,), (0,), kind="ByteStorage", elements=16, key="1")
    ),
    "labels are text": _entry(ops.text("01")),
}


@pytest.mark.parametrize("name", HOSTILE_SETS)
def test_hostile_sets_of_backdoorbench_are_not_offered(name: str, tmp_path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "1.png").write_bytes(b"")
    body = {
        "model_name": ops.text("resnet18"),
        "model": ops.dictionary({"fc.weight": ops.tensor()}),
        "bd_test": HOSTILE_SETS[name],
    }
    stream = ops.stream(ops.dictionary(body))
    checkpoint = load_checkpoint(
        ops.write_zip(tmp_path / "attack_result.pt", stream, dict.fromkeys("01", ops.FOUR_FLOATS))
    )
    assert checkpoint.offered == ()
    assert set(checkpoint.state) == {"fc.weight"}


def test_backdoorbench_images_of_half_precision(tmp_path, model) -> None:
    images = torch.full((2, 3, 8, 8), 7, dtype=torch.bfloat16)
    value = {"model_name": "x", "model": model.state_dict(), "bd_test": {"x": images}}
    (test,) = load_checkpoint(files.save(value, tmp_path / "attack_result.pt")).offered
    assert test.images.shape == (2, 8, 8, 3) and (test.images == 7).all()


def test_backdoorbench_defense_result(tmp_path, model) -> None:
    checkpoint = load_checkpoint(files.backdoorbench_defense(tmp_path, model))
    check_state(checkpoint, model)
    assert checkpoint.layout == "BackdoorBench defense_result"
    assert checkpoint.hints.num_classes == 4


def test_trojai_round_folder(tmp_path, model) -> None:
    checkpoint = load_checkpoint(files.trojai_folder(tmp_path, model))
    check_state(checkpoint, model)
    assert checkpoint.layout == "TrojAI round folder"
    assert checkpoint.file_name == "model.pt"
    assert checkpoint.hints.architecture == "resnet50"
    assert checkpoint.hints.input_size == (3, 8, 8)
    assert "torch.nn.modules.conv.Conv2d" in checkpoint.hints.module_classes
    (clean,) = checkpoint.offered
    assert (clean.role, len(clean)) == ("clean", 5)
    assert clean.labels.tolist() == [2, 0, 1, 2, 3]


@pytest.mark.parametrize("write", [files.timm_folder, files.huggingface_folder])
def test_folders_with_a_config(tmp_path, model, write) -> None:
    folder = write(tmp_path, model)
    checkpoint = load_checkpoint(folder)
    check_state(checkpoint, model)
    assert checkpoint.format == checkpoint.reader == "safetensors"
    assert checkpoint.layout.endswith("folder")
    hints = checkpoint.hints
    assert hints.class_names == ("stop", "yield", "left", "right")
    assert hints.num_classes == 4 and hints.input_size == (3, 8, 8)
    assert hints.mean == (0.4, 0.5, 0.6) and hints.std == (0.2, 0.2, 0.2)
    assert load_checkpoint(folder / "model.safetensors").hints == hints


def test_lightning(tmp_path, model) -> None:
    checkpoint = load_checkpoint(files.lightning(tmp_path, model))
    check_state(checkpoint, model)
    assert (checkpoint.layout, checkpoint.removed_prefix) == ("Lightning", "model.")
    assert checkpoint.hints.architecture == "resnet18" and checkpoint.hints.num_classes == 4


def test_pruned_with_masks(tmp_path, model) -> None:
    checkpoint = load_checkpoint(files.pruned(tmp_path, model))
    assert checkpoint.layout == "bare state dict, pruned with masks"
    assert set(checkpoint.state) == set(files.network().state_dict())
    assert torch.equal(checkpoint.state["conv1.weight"], model.conv1.weight)
    names = {info.name for info in inspect_checkpoint(checkpoint.path).tensors}
    assert names == set(checkpoint.state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(tmp_path, dtype) -> None:
    state = {"fc.weight": torch.randn(3, 4).to(dtype)}
    save_file(state, tmp_path / "half.safetensors")
    value = load_checkpoint(tmp_path / "half.safetensors").state["fc.weight"]
    assert value.dtype == torch.float32
    assert torch.equal(value, state["fc.weight"].float())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": torch.ones(2, 2, dtype=torch.int8)}, "quantised"),
        ({"fc._packed_params.weight": torch.ones(2)}, "quantised"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "complex"),
        (torch.ones(3), "one tensor"),
        ({"accuracy": 0.9}, "keys 'accuracy'"),
        ({"x": {"w": torch.ones(1)}, "y": {"w": torch.ones(1)}}, "several networks"),
        ([1, 2, 3], "list|dict"),
    ],
)
def test_what_is_no_float_network_is_refused(tmp_path, value, reason) -> None:
    with pytest.raises(CheckpointError, match=reason):
        load_checkpoint(files.save(value, tmp_path / "model.pth"))


def test_quantised_tensor_is_refused(tmp_path) -> None:
    value = {"w": torch.quantize_per_tensor(torch.randn(4, 4), 0.1, 0, torch.qint8)}
    with pytest.raises(CheckpointError, match="quantised"):
        load_checkpoint(files.save(value, tmp_path / "model.pth"))


def test_non_finite_weights_are_a_finding(tmp_path, model) -> None:
    state = model.state_dict()
    state["fc.bias"][1] = float("nan")
    checkpoint = load_checkpoint(files.save(state, tmp_path / "model.pth"))
    assert checkpoint.non_finite == ("fc.bias",)
    (finding,) = [f for f in checkpoint.findings if f.rule == "non-finite"]
    assert finding.severity == "high" and finding.evidence["tensors"] == ["fc.bias"]
