"""The folder that holds the jobs of a user: the table, run folders, work files, locks of owners."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rnp_core.errors import JobError


def default_home() -> Path:
    """``$RNP_HOME``, else ``$XDG_DATA_HOME/rnp``, else ``~/.local/share/rnp``."""
    if home := os.environ.get("RNP_HOME"):
        return Path(home)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "rnp"


@dataclass(frozen=True)
class Home:
    """Where things are inside a home.

    Attributes:
        root: the folder; absolute.
    """

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "jobs.sqlite"

    @property
    def runs(self) -> Path:
        """A run folder a job; each appears whole or not at all."""
        return self.root / "runs"

    @property
    def work(self) -> Path:
        """Results of finished stages, a folder a job; may be removed at any time."""
        return self.root / "work"

    @property
    def owners(self) -> Path:
        """A lock file for every engine that runs jobs."""
        return self.root / "owners"

    def run_folder(self, job_id: str) -> Path:
        return self.runs / job_id

    def work_folder(self, job_id: str) -> Path:
        return self.work / job_id

    def free_bytes(self) -> int:
        """Space left on the disk."""
        return shutil.disk_usage(self.root).free


def open_home(root: Path) -> Home:
    """The home at ``root``, made if need be, for this user alone (mode 0700).

    Raises:
        JobError: when it cannot be made or written.
    """
    home = Home(root.expanduser().absolute())
    try:
        home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (home.runs, home.work, home.owners):
            folder.mkdir(exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=home.owners):
            pass
    except OSError as error:
        raise JobError(
            f"cannot keep jobs in {home.root}: {error.strerror}; choose another folder with --home "
            "or RNP_HOME"
        ) from error
    return home
