"""Limits on reading, given as texts on the command line and in scan requests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnp_core.checkpoints import ReadLimits
from rnp_core.cli import main
from rnp_core.errors import CheckpointError, ConfigError, DataError
from rnp_core.images import ImageLimits
from rnp_core.limit_options import parse_limits
from rnp_core.request import ScanRequest
from rnp_core.subject import load_request
from tests.helpers import layout_files as files
from tests.helpers.colours import SIDE, colour_images, colour_network


def test_named_limits_replace_the_defaults() -> None:
    read, images = parse_limits(["checkpoint.file_bytes=20e9", "images.seconds=0.5"])
    assert read == ReadLimits(file_bytes=20_000_000_000)
    assert images == ImageLimits(seconds=0.5)
    assert parse_limits(None) == (ReadLimits(), ImageLimits())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("file_bytes=3", "checkpoint.file_bytes"),
        ("images.nothing=3", "images.max_files"),
        ("checkpoint.depth", "above 0"),
        ("checkpoint.depth=-1", "above 0"),
        ("checkpoint.depth=nan", "above 0"),
        ("checkpoint.depth=many", "above 0"),
    ],
)
def test_what_is_no_limit(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_limits([text])


def test_a_request_carries_them(tmp_path: Path) -> None:
    checkpoint = files.save(colour_network().state_dict(), tmp_path / "model.pth")
    images, labels = colour_images(48)
    np.savez(tmp_path / "clean.npz", x=images, y=labels)

    def load(*limits: str) -> None:
        request = ScanRequest(
            str(checkpoint), str(tmp_path / "clean.npz"), str(tmp_path / "out"), limits=limits
        )
        assert ScanRequest.from_dict(request.to_dict()) == request
        subject = load_request(request)
        assert subject.model.input_shape == (3, SIDE, SIDE)

    load("checkpoint.tensors=100", "images.max_files=10")
    with pytest.raises(CheckpointError, match="2 tensors"):
        load("checkpoint.tensors=2")
    with pytest.raises(DataError, match="array_bytes"):
        load("images.array_bytes=100")


def test_the_command_line_takes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(files.save(colour_network().state_dict(), tmp_path / "model.pth"))
    assert main(["inspect", path, "--limit", "checkpoint.file_bytes=100"]) == 2
    assert "checkpoint.file_bytes" in capsys.readouterr().err
    assert main(["inspect", path, "--limit", "checkpoint.file_bytes=1e9"]) == 0
