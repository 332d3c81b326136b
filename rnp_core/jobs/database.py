"""The SQLite file of a home: opening, migrating, and transactions with clear errors."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rnp_core.errors import JobError
from rnp_core.jobs.schema import MIGRATIONS

BUSY_SECONDS = 30.0
"""Longest wait for another process that writes."""


class Database:
    """One connection, shared by the threads of a process; writes are serialised by SQLite.

    Args:
        path: made if it does not exist.
        migrations: SQL scripts; script ``i`` leads from version ``i`` to ``i + 1``.

    Raises:
        JobError: when the file is no database of this program, is from a newer version, or cannot
            be written.
    """

    def __init__(self, path: Path, *, migrations: Sequence[str] = MIGRATIONS) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        with self._errors():
            # Only the first opening of a new file needs the lock: two switches to WAL collide.
            try:
                with FileLock(path.with_name(path.name + ".lock"), timeout=BUSY_SECONDS):
                    self._connection = sqlite3.connect(
                        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
                    )
                    self._connection.row_factory = sqlite3.Row
                    self._prepare(migrations)
            except Timeout:
                raise JobError(f"{path} is being opened by another program for too long") from None

    def _prepare(self, migrations: Sequence[str]) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(migrations):
            raise JobError(
                f"{self.path} was written by a newer version of this program (schema {version}, "
                f"expected at most {len(migrations)}); update the program"
            )
        for number, script in enumerate(migrations[version:], start=version + 1):
            self._connection.executescript(
                f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;"
            )

    def close(self) -> None:
        """Close the connection; what was committed stays."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is written at once or not at all; may be nested.

        Raises:
            JobError: when it cannot be written.
        """
        with self._lock, self._errors():
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                if self._depth == 1 and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            else:
                if self._depth == 1:
                    self._commit()
            finally:
                self._depth -= 1

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """The rows that a query finds."""
        with self._lock, self._errors():
            return self._connection.execute(sql, values).fetchall()

    def change(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run one statement that writes; returns how many rows it changed."""
        with self.transaction():
            return self._connection.execute(sql, values).rowcount

    def change_many(self, sql: str, values: Sequence[Sequence[Any]]) -> None:
        """Run one statement with every row of ``values``."""
        with self.transaction():
            self._connection.executemany(sql, values)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            text = str(error)
            advice = {
                "database or disk is full": "the disk is full; free some space",
                "attempt to write a readonly database": "it is read-only",
                "disk I/O error": "the disk failed or is full; check it",
                "database is locked": "another program holds it; close that and try again",
                "unable to open database file": "it cannot be opened; check its folder's rights",
            }
            known = next((advice[name] for name in advice if name in text), text)
            raise JobError(f"cannot use the table of jobs at {self.path}: {known}") from error
        except sqlite3.DatabaseError as error:
            raise JobError(
                f"cannot use the table of jobs at {self.path}: {error}; move the file away to "
                "start a new one, run folders stay"
            ) from error
        except OSError as error:
            raise JobError(f"cannot use {self.path}: {error.strerror or error}") from error
