"""A scan as a request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rnp_core.assembly import NORMALIZATIONS
from rnp_core.errors import ConfigError
from rnp_core.model import Normalization
from rnp_core.request import NORMALIZATION_NAMES, ScanRequest
from rnp_core.scan_file import scan_request

PATHS = {"checkpoint": "model.pth", "clean": "clean.npz", "out": "run"}


def test_survives_json() -> None:
    request = ScanRequest(**PATHS, class_names=("a", "b"), mean=(0.5,), std=(0.2,), seed=3)
    assert ScanRequest.from_dict(json.loads(json.dumps(request.to_dict()))) == request


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": (0.5,)}, "go together"),
        ({"mean": (0.5, 0.5), "std": (0.2,)}, "as many --std values"),
        ({"mean": (0.5,), "std": (0.0,)}, "all above 0"),
        ({"mean": (0.5,), "std": (float("nan"),)}, "finite numbers for --std"),
        ({"mean": "0.5", "std": (0.2,)}, "expected a list for mean"),
        ({"threads": 0}, "expected --threads from 1 to 1024, got 0"),
        ({"num_classes": 1}, "expected --num-classes from 2 to 65536, got 1"),
        ({"num_classes": "ten"}, "expected --num-classes from 2 to 65536, got 'ten'"),
        ({"num_classes": 65537}, "expected --num-classes from 2 to 65536, got 65537"),
        ({"num_classes": True}, "expected --num-classes from 2 to 65536, got True"),
        ({"threads": 10**5}, "expected --threads from 1 to 1024, got 100000"),
        ({"class_names": ("a", "")}, "expected names for class_names"),
        ({"mean": (True,), "std": (1.0,)}, "finite numbers for --mean"),
        ({"normalization": "x"}, "expected a normalisation among auto, none, cifar10"),
        ({"normalization": 3}, "expected text for normalization"),
        ({"seed": -1}, "expected --seed from 0"),
        ({"seed": 2**64}, "expected --seed from 0"),
        ({"seed": 1.5}, "expected --seed from 0"),
        ({"out": "a\x00b"}, "expected text for out"),
        ({"out": ""}, "expected text for out"),
        ({"suspects": 3}, "expected text for suspects, got 3"),
        ({"preset": "slow"}, "expected a preset among quick"),
        ({"device": "tpu"}, "expected a device among auto"),
        ({"class_names": "ab"}, "expected a list for class_names"),
        ({"class_names": (1, 2)}, "expected names for class_names"),
        ({"repair": 1}, "expected true or false for repair"),
    ],
)
def test_wrong_values_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScanRequest(**{**PATHS, **changes})  # type: ignore[arg-type]


def test_every_known_normalisation_can_be_asked_for() -> None:
    assert ("auto", *NORMALIZATIONS) == NORMALIZATION_NAMES
    for name in NORMALIZATION_NAMES:
        assert ScanRequest(**PATHS, normalization=name).normalization == name


@pytest.mark.parametrize("data", [{"checkpoint": "x"}, {**PATHS, "colour": "red"}])
def test_wrong_fields_are_refused(data: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="expected the fields of a scan request"):
        ScanRequest.from_dict(data)


def test_lists_become_tuples_so_that_requests_compare() -> None:
    request = ScanRequest.from_dict({**PATHS, "mean": [0.5], "std": [0.2], "class_names": ["a"]})
    assert request == ScanRequest(**PATHS, mean=(0.5,), std=(0.2,), class_names=("a",))
    assert request.to_dict()["preset"] == "standard"
    assert json.loads(json.dumps(request.to_dict()))["mean"] == [0.5]


def test_the_values_of_a_request_reach_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def recorded(*paths: object, **options: object) -> None:
        seen.update(options, paths=paths)

    monkeypatch.setattr("rnp_core.scan_file.scan_checkpoint", recorded)
    scan_request(
        ScanRequest(
            **PATHS,
            suspects="inbox",
            arch="resnet18",
            num_classes=4,
            class_names=("a", "b"),
            mean=(0.5,),
            std=(0.2,),
            preset="quick",
            seed=7,
            repair=False,
            force=True,
        )
    )
    assert seen["paths"] == (Path("model.pth"), Path("clean.npz"), Path("run"))
    assert (seen["suspects_path"], seen["arch"], seen["num_classes"]) == (
        Path("inbox"),
        "resnet18",
        4,
    )
    assert seen["class_names"] == ("a", "b")
    assert seen["normalization"] == Normalization((0.5,), (0.2,), "given")
    config = seen["config"]
    assert (config.preset, config.seed, config.repair) == ("quick", 7, False)
    assert seen["force"] and not seen["request"]["force"]  # a repeated scan replaces nothing
    scan_request(ScanRequest("model.pth", None, "run", normalization="half"))
    assert (seen["paths"][1], seen["suspects_path"], seen["normalization"]) == (None, None, "half")
