"""The command as it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_the_benchmark_starts_from_any_folder(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("rnp")
    if not command.exists():
        pytest.skip("rnp is not installed beside this Python")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(
        [command, "benchmark", "--help"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "--quick" in ran.stdout
