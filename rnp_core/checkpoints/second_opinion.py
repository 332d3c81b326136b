"""What other tools say about the pickles of a file; none of them runs anything in it."""

from __future__ import annotations

import io
import logging
from importlib.metadata import PackageNotFoundError, version

import torch

from rnp_core.checkpoints.container import TORCH_ZIP
from rnp_core.checkpoints.records import printable
from rnp_core.checkpoints.result import FileFinding
from rnp_core.checkpoints.source import Source

_MOST_NAMES = 50
_MOST_BYTES = 32 << 20  # the other tools read the stream again, without our limits


def second_opinions(source: Source, container: str, stream: bytes) -> tuple[FileFinding, ...]:
    """Findings of torch's own list of unsafe globals and of picklescan, where they apply.

    Args:
        source: the file.
        container: its format.
        stream: its main pickle stream, already found to be within the limits.
    """
    if len(stream) > _MOST_BYTES:
        return ()
    found = (_torch(source) if container == TORCH_ZIP else None, _picklescan(stream))
    return tuple(finding for finding in found if finding is not None)


def _torch(source: Source) -> FileFinding | None:
    source.file.seek(0)
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(source.file)  # type: ignore[arg-type]
    except Exception:  # it raises many kinds on pickles that it does not know
        return None
    if not names:
        return None
    shown = sorted(printable(name[:200]) for name in names)[:_MOST_NAMES]
    return FileFinding(
        "info",
        "torch-unsafe-globals",
        f"torch would refuse {len(names)} name(s) of this file with weights_only=True",
        {"tool": f"torch {torch.__version__}", "globals": shown, "count": len(names)},
    )


def _picklescan(stream: bytes) -> FileFinding | None:
    try:
        from picklescan.scanner import SafetyLevel, scan_pickle_bytes
    except ImportError:
        return None
    logging.getLogger("picklescan").setLevel(logging.CRITICAL)
    try:
        result = scan_pickle_bytes(io.BytesIO(stream), "pickle")
    except Exception:  # a second opinion that fails is no opinion
        return None
    dangerous = sorted(
        printable(f"{found.module}.{found.name}"[:200])
        for found in result.globals
        if found.safety == SafetyLevel.Dangerous
    )
    if not dangerous:
        return None
    try:
        tool = f"picklescan {version('picklescan')}"
    except PackageNotFoundError:
        tool = "picklescan"
    return FileFinding(
        "high",
        "picklescan",
        f"picklescan calls {len(dangerous)} name(s) of this file dangerous",
        {"tool": tool, "globals": dangerous[:_MOST_NAMES], "count": len(dangerous)},
        ("AML.T0011.000",),
        ("CWE-502",),
    )
