"""Who runs jobs, and whether they live: every engine holds a lock that the system gives back when
the process ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rnp_core.jobs.home import Home
from rnp_core.jobs.store import JobStore, now


class Owner:
    """This engine as an owner of jobs, until :meth:`release`."""

    def __init__(self, store: JobStore) -> None:
        self.id = secrets.token_hex(8)
        self._store = store
        self._lock = FileLock(_path(store.home, self.id), thread_local=False)
        self._lock.acquire(timeout=10)
        store.database.change(
            "INSERT INTO owners VALUES (?, ?, ?, ?)",
            (self.id, socket.gethostname(), os.getpid(), now()),
        )

    def release(self) -> None:
        """Own nothing any more."""
        self._lock.release()
        _path(self._store.home, self.id).unlink(missing_ok=True)
        self._store.database.change("DELETE FROM owners WHERE id = ?", (self.id,))


@contextmanager
def estate(store: JobStore, owner: str) -> Iterator[list[str] | None]:
    """The jobs that a dead owner left running, for one process at a time to settle.

    Yields:
        None while the owner lives, or while somebody else settles its jobs.
    """
    path = _path(store.home, owner)
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        yield None
        return
    try:
        yield store.owned(owner)
        store.database.change("DELETE FROM owners WHERE id = ?", (owner,))
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    finally:
        lock.release()


def describe(store: JobStore, owner: str) -> str:
    """Who an owner is, for people."""
    rows = store.database.rows("SELECT host, pid FROM owners WHERE id = ?", (owner,))
    return f"process {rows[0]['pid']} on {rows[0]['host']}" if rows else "an unknown process"


def _path(home: Home, owner: str) -> Path:
    return home.owners / f"{owner}.lock"
