"""SQLite storage that many threads and many processes may open at once."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, LifoQueue

_BUSY_SECONDS = 60.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS projects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    allowed_origins TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS keys (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    lookup TEXT NOT NULL UNIQUE,
    start TEXT NOT NULL,
    salt BLOB NOT NULL,
    digest BLOB NOT NULL,
    kind TEXT NOT NULL,
    environment TEXT NOT NULL,
    project TEXT REFERENCES projects (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    scopes TEXT NOT NULL,
    allowed_origins TEXT NOT NULL,
    expires_at INTEGER,
    metadata TEXT NOT NULL,
    rate_limit TEXT,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS keys_by_project ON keys (project, seq);
CREATE TABLE IF NOT EXISTS idempotency (
    idempotency_key TEXT PRIMARY KEY,
    request BLOB NOT NULL,
    key_id TEXT NOT NULL REFERENCES keys (id),
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS idempotency_by_age ON idempotency (created_at);
"""

Row = sqlite3.Row


class Storage:
    """One database file. Writes of this process queue on a lock; those of others on SQLite's own."""

    def __init__(self, path: Path | None) -> None:
        """Open or create the database at `path` (mode 0600), or one in memory that ends with this object.
        The caller holds the lock of the folder."""
        if path is None:
            self._at = f"file:{secrets.token_hex(16)}?mode=memory&cache=shared"
        else:
            # SQLite gives -wal and -shm the mode of the database file, so that one is made private first.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._at = str(path)
        self._in_memory = path is None
        self._readers: LifoQueue[sqlite3.Connection] = LifoQueue()
        self._write_lock = threading.Lock()
        self._writer = self._connect()
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.executescript(_SCHEMA)

    def add_tables(self, script: str) -> None:
        """Create what a dialect keeps besides keys and projects. The caller holds the lock of the folder."""
        self._writer.executescript(script)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one committed state."""
        try:
            connection = self._readers.get_nowait()
        except Empty:
            connection = self._connect()
        try:
            yield connection
        finally:
            self._readers.put(connection)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """An immediate transaction: committed at the end, rolled back on any exception."""
        with self._write_lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    def fetch(self, statement: str, *values: object) -> list[Row]:
        """All rows of one read."""
        with self.read() as connection:
            return connection.execute(statement, values).fetchall()

    def close(self) -> None:
        """Close every idle connection; the last one to close folds the write-ahead log in."""
        while True:
            try:
                self._readers.get_nowait().close()
            except Empty:
                break
        with self._write_lock:
            self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._at,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            uri=self._in_memory,
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection


def pack(value: object) -> str:
    """Text for a column that holds JSON; equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
