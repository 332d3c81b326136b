"""Programs that tests start, mark, find and kill."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

MARK = "RNP_TEST_MARK"
ROOT = Path(__file__).parents[2]


class Programs:
    """Processes that share a mark in their environment, and all that they start.

    Args:
        mark: unique to the test.
        log: where they write what they say.
    """

    def __init__(self, mark: str, log: Path) -> None:
        self.mark = mark
        self._log = log

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start ``python ARGUMENTS`` from the root of the project."""
        environment = {**os.environ, MARK: self.mark, "PYTHONPATH": str(ROOT)}
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *arguments], env=environment, stdout=log, stderr=log, cwd=ROOT
            )

    def find(self, *words: str) -> list[psutil.Process]:
        """Living processes with the mark whose command line has all of ``words``."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                line = " ".join(process.cmdline())
                if all(word in line for word in words) and (
                    process.environ().get(MARK) == self.mark
                ):
                    found.append(process)
        return found

    def scans(self) -> list[psutil.Process]:
        """The child processes of scans."""
        return self.find("rnp_core.isolation.child")

    def kill(self, processes: Sequence[psutil.Process]) -> None:
        """``kill -9`` each."""
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)

    def all_gone(self, *, seconds: float = 10.0) -> bool:
        """Whether no process with the mark is left after a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not self.find():
                return True
            time.sleep(0.1)
        return False
