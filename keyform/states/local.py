"""The local state backend: one JSON file on this machine, its lock, its journal and one backup."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keyform import files
from keyform.errors import Conflict, StateError
from keyform.ports import LockRecord, Snapshot
from keyform.states.journal import LocalJournal
from keyform.states.lock import StateLock


def open_backend(options: Mapping[str, Any], project_folder: Path) -> LocalBackend:
    """The backend that a configuration declares; its one option is ``path`` (default
    ``.keyform/state.json``), relative to ``project_folder``. Does no I/O."""
    return LocalBackend(project_folder / Path(options.get("path", ".keyform/state.json")).expanduser())


class LocalBackend:
    """A :class:`~keyform.ports.StateBackend` over the file at ``path``, mode 0600.

    Beside it stand ``.backup`` (the state as it was before the last run's first write), ``.lock``,
    ``.lock.info`` and ``.journal``. A state file that is a symbolic link is refused: under its two names
    it would have two locks.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = StateLock(path)
        self._backed_up = False
        self.journal = LocalJournal(path.with_name(path.name + ".journal"), self._lock)

    def describe(self) -> str:
        """See :class:`~keyform.ports.StateBackend`."""
        return str(self._path)

    def read(self) -> Snapshot | None:
        """See :class:`~keyform.ports.StateBackend`."""
        self._refuse_link()
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise self._failed("read", problem) from None
        return Snapshot(data, _version(data))

    def write(self, data: bytes, expect: str | None) -> str:
        """See :class:`~keyform.ports.StateBackend`. Without a lock of its own, it writes only while
        nobody else holds the lock (``Locked``)."""
        try:
            with self._lock.guard():
                before = self.read()
                if (before.version if before else None) != expect:
                    raise Conflict(
                        f"The state {self._path} was changed by somebody else meanwhile; nothing was written",
                        "Plan again on the state as it is now.",
                    )
                if before and not self._backed_up:
                    files.write_private(self._path.with_name(self._path.name + ".backup"), before.data)
                self._backed_up = True
                files.write_private(self._path, data)
        except OSError as problem:
            raise self._failed("written", problem) from None
        return _version(data)

    def lock(self, record: LockRecord) -> LockRecord | None:
        """See :class:`~keyform.ports.StateBackend`."""
        self._refuse_link()
        try:
            dead = self._lock.take(record)
        except OSError as problem:
            raise self._failed("locked", problem) from None
        self._backed_up = False
        return dead

    def unlock(self, lock_id: str) -> None:
        """See :class:`~keyform.ports.StateBackend`."""
        try:
            self._lock.release(lock_id)
        except OSError as problem:
            raise self._failed("unlocked", problem) from None

    def holder(self) -> LockRecord | None:
        """See :class:`~keyform.ports.StateBackend`."""
        try:
            return self._lock.holder()
        except OSError as problem:
            raise self._failed("examined", problem) from None

    def check_lock(self) -> None:
        """See :class:`~keyform.ports.StateBackend`."""
        try:
            self._lock.check()
        except OSError as problem:
            raise self._failed("examined", problem) from None

    def _refuse_link(self) -> None:
        if self._path.is_symlink():
            raise StateError(
                f"The state {self._path} is a symbolic link, which keyform does not follow",
                f"Under two names it would have two locks. Set `state.path` to {self._path.resolve()}.",
            )

    def _failed(self, what: str, problem: OSError) -> StateError:
        return StateError(
            f"The state {self._path} could not be {what}: {files.reason(problem)}", files.advice(problem)
        )


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
