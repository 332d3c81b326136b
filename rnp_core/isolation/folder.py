"""A private temporary folder, gone afterwards whatever happens."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rnp_core.errors import IsolationError

_NAME = re.compile(r"rnp-isolated-(\d+)-")


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder that only this user may enter (mode 0700); it is removed at the end.

    Folders that were left by processes which were killed are removed as well. A folder in use is
    locked, so that this is safe between containers which share a place for temporary files.

    Raises:
        IsolationError: when there is no place for it.
    """
    _sweep(Path(tempfile.gettempdir()))
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"rnp-isolated-{os.getpid()}-")).resolve()
    except OSError as error:
        raise IsolationError(
            f"cannot make a temporary folder: {error.strerror}; set TMPDIR", reason="start"
        ) from error
    try:
        with ExitStack() as stack:
            with contextlib.suppress(OSError):  # a file system without locks
                stack.enter_context(_locked(folder))
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    with contextlib.suppress(OSError):
        for folder in parent.glob("rnp-isolated-*"):
            name = _NAME.match(folder.name)
            mine = folder.lstat().st_uid == os.getuid()
            if name and mine and not folder.is_symlink() and not _lives(int(name[1])):
                with contextlib.suppress(OSError), _locked(folder):
                    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises ``OSError`` when another process holds it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
