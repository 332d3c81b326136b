"""Where the optional shared checkpoints and images lie; they are not part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def _find() -> Path | None:
    default = Path(__file__).resolve().parents[2].parent / "shared"
    folder = Path(os.environ.get("RNP_SHARED", default))
    return folder if (folder / "checkpoints").is_dir() else None


SHARED = _find()
needs_shared = pytest.mark.skipif(
    SHARED is None, reason="needs the shared checkpoints and images (set RNP_SHARED)"
)
