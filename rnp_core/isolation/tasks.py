"""What a child process can be asked to do. Torch is imported in here only, by the task itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from rnp_core.errors import ConfigError
from rnp_core.isolation.confine import Protection
from rnp_core.progress import OnProgress
from rnp_core.request import ScanRequest

Task = Callable[[Mapping[str, Any], OnProgress, Protection], dict[str, Any]]
"""Takes a payload, a progress callback and how it is confined; gives JSON values."""


def scan(
    payload: Mapping[str, Any], on_progress: OnProgress, protection: Protection
) -> dict[str, Any]:
    """Scan as ``ScanRequest.from_dict(payload)`` says and write the run folder."""
    from rnp_core.scan_file import scan_request

    request = ScanRequest.from_dict(payload)
    report = scan_request(
        request, environment={"isolation": protection.to_dict()}, on_progress=on_progress
    )
    return {"out": request.out, "verdict": report.verdict}


def inspect(
    payload: Mapping[str, Any], on_progress: OnProgress, protection: Protection
) -> dict[str, Any]:
    """Inspect the checkpoint at ``payload["path"]`` within ``payload["limits"]``, if any."""
    from rnp_core.checkpoints import inspect_checkpoint
    from rnp_core.limit_options import parse_limits

    limits, _ = parse_limits(payload.get("limits"))
    return inspect_checkpoint(payload["path"], limits=limits).to_dict()


_TASKS: Mapping[str, Task] = {"scan": scan, "inspect": inspect}


def find_task(name: str) -> Task:
    """A task of this module by name, or the function at ``MODULE:FUNCTION``.

    Raises:
        ConfigError: when there is none.
    """
    module, _, function = name.partition(":")
    found = getattr(import_module(module), function, None) if function else _TASKS.get(name)
    if found is None:
        raise ConfigError(f"expected a task among {', '.join(_TASKS)}, got {name!r}")
    return found
