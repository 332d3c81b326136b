"""What the benchmark ran on, so that its figures can be read later."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnp_core.version import VERSION

ENVIRONMENT_NAME = "environment.json"

SETTINGS_NAME = "settings.json"


def describe_environment(*, threads: int, device: str = "cpu", jobs: int = 1) -> dict[str, Any]:
    """Versions, processor, threads and the commit, as plain values."""
    return {
        "version": VERSION,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "cells_at_once": jobs,
    }


def record_environment(out: Path, *, threads: int, device: str = "cpu", jobs: int = 1) -> str:
    """Write the environment into ``out``, beside those of earlier runs; returns its id."""
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    facts = describe_environment(threads=threads, device=device, jobs=jobs)
    return record(out / ENVIRONMENT_NAME, facts, date=today)


def record(path: Path, facts: Mapping[str, Any], **more: Any) -> str:
    """Keep ``facts`` once in the JSON file ``path``, under an id made from them; returns the id.

    Args:
        more: kept beside the facts, without a part in the id.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    known = read_records(path)
    if digest not in known:
        known[digest] = {**facts, **more}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return digest


def read_records(path: Path) -> dict[str, dict[str, Any]]:
    """Id to the facts that :func:`record` kept in ``path``; empty when there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _commit() -> str | None:
    """The commit of the checkout, with ``+`` when files differ from it; None outside of one."""
    root = Path(__file__).resolve().parents[1]
    try:
        commit, status = (
            subprocess.run(
                ["git", *command], cwd=root, capture_output=True, text=True, timeout=20, check=True
            ).stdout.strip()
            for command in (
                ["rev-parse", "--short=12", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no"],
            )
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if status else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
