"""Who runs jobs, and whether they live: every engine holds a lock that the system gives back when
the process ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
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


def lives(home: Home, owner: str) -> bool:
    """Whether the engine that calls itself ``owner`` still runs, in whatever process."""
    path = _path(home, owner)
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def forget(store: JobStore, owner: str) -> str:
    """Remove a dead owner; returns who it was, for people."""
    rows = store.database.rows("SELECT host, pid FROM owners WHERE id = ?", (owner,))
    store.database.change("DELETE FROM owners WHERE id = ?", (owner,))
    with contextlib.suppress(OSError):
        _path(store.home, owner).unlink(missing_ok=True)
    return f"process {rows[0]['pid']} on {rows[0]['host']}" if rows else "an unknown process"


def _path(home: Home, owner: str) -> Path:
    return home.owners / f"{owner}.lock"
