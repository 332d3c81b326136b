"""Names of files that come from a checkpoint, kept inside the checkpoint's own folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rnp_core.checkpoints.limits import ReadLimits
from rnp_core.checkpoints.source import open_source
from rnp_core.errors import CheckpointError


def file_inside(folder: Path, name: str) -> Path | None:
    """The plain file ``name`` below ``folder``, or None when it is missing or lies outside.

    Symbolic links are resolved first, so that none leads out of the folder.
    """
    if "\x00" in name or Path(name).is_absolute():
        return None
    try:
        base = folder.resolve()
        path = (base / name).resolve()
        inside = path.is_relative_to(base) and path.is_file()
    except (OSError, RuntimeError, ValueError):
        return None
    return path if inside else None


def read_json(path: Path, limits: ReadLimits) -> Any:
    """The content of a JSON file that nobody trusts.

    Raises:
        CheckpointError: when it is too large, not a plain file or not JSON.
    """
    if path.stat().st_size > limits.json_bytes:
        raise CheckpointError(f"{path.name!r} is longer than {limits.json_bytes} bytes")
    with open_source(path, limits) as source:
        data = source.file.read(limits.json_bytes)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path.name!r} is not JSON") from error
