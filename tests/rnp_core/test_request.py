"""A scan as a request."""

from __future__ import annotations

import json

import pytest

from rnp_core.errors import ConfigError
from rnp_core.request import ScanRequest

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
        ({"mean": (0.5,), "std": (float("nan"),)}, "all above 0"),
        ({"threads": 0}, "at least 1, got 0"),
    ],
)
def test_wrong_values_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScanRequest(**PATHS, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [{"checkpoint": "x"}, {**PATHS, "colour": "red"}])
def test_wrong_fields_are_refused(data: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="expected the fields of a scan request"):
        ScanRequest.from_dict(data)
