"""Attribution maps of a scan by image, method and model. No Streamlit."""

from __future__ import annotations

from collections.abc import Mapping

from rnp_core import RunFolder

Maps = Mapping[tuple[str, str], bytes]
"""PNG by (method, model); the model is "original" or "repaired"."""


def stored_maps(run: RunFolder, index: int) -> Maps:
    """The maps that the scan drew of one suspect, or of a clean image with the trigger (-1)."""
    return {
        (row.method, row.model): data
        for row in run.report.attributions
        if row.index == index and (data := run.picture(row.png)) is not None
    }


def repaired_path(run: RunFolder) -> str | None:
    """Where the repaired weights are; None where nothing was removed."""
    path = run.path(run.report.files.get("repaired_model"))
    return str(path) if path is not None and run.report.was_repaired else None


def filter_pictures(run: RunFolder) -> list[tuple[str, bytes]]:
    """(layer, PNG) of what drives the pruned filters."""
    return [
        (row.method.removeprefix("filters:"), data)
        for row in run.report.attributions
        if row.method.startswith("filters:") and (data := run.picture(row.png)) is not None
    ]
