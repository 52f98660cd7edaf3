"""The advisory lock of a local state: exclusive, told apart from a dead holder's, and breakable.

Two files: ``PATH.lock`` is a mutex held for moments, so that what follows is one step for everybody;
``PATH.lock.info`` says who holds the lock, and its holder keeps an OS lock on that very file, which ends
with the process. So a record without an OS lock is a dead holder's. Breaking a lock removes the record;
its old holder then finds that the record is no longer its own file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import threading
import time
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from keyform import files
from keyform.errors import Conflict, Locked, StateError
from keyform.model import instant, parse_instant
from keyform.ports import LockRecord

_PATIENCE = 10.0  # seconds to wait for the mutex, which a healthy process holds for one disk write
_POLL = 0.005


class StateLock:
    """The lock on the state at ``path``. Usable from any thread; a forked child does not hold it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mutex_path = path.with_name(path.name + ".lock")
        self._info = path.with_name(path.name + ".lock.info")
        self._threads = threading.Lock()
        self._held: int | None = None  # descriptor of the record file that this process made
        self._mutex_fd: int | None = None
        _alive.add(self)

    def take(self, record: LockRecord) -> LockRecord | None:
        """See :meth:`keyform.ports.StateBackend.lock`."""
        files.make_folders(self._path.parent)
        with self._mutex():
            found = self._record()
            if found is not None and (self._held_here() or self._is_live()):
                raise _locked(self._path, found)
            self._drop()
            files.sweep(self._path.parent)
            files.write_private(self._info, _dump(record))
            fd = os.open(self._info, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                self._info.unlink()
                raise
            self._held = fd
            return found

    def release(self, lock_id: str) -> None:
        """See :meth:`keyform.ports.StateBackend.unlock`."""
        if not self._mutex_path.exists():
            raise _not_locked(self._path)
        with self._mutex():
            found = self._record()
            if not self._held_here():
                self._drop()
            if found is None:
                raise _not_locked(self._path)
            if found.id != lock_id:
                raise StateError(
                    f"The lock of {self._path} has the id {found.id}, not {lock_id}",
                    f"It belongs to {_who(found)}. Make sure that run is over before you break its lock.",
                )
            self._info.unlink()
            self._drop()
            files.sync_folder(self._path.parent)

    def holder(self) -> LockRecord | None:
        """See :meth:`keyform.ports.StateBackend.holder`. Creates no file."""
        if not self._info.exists():
            return None
        with self._mutex():
            found = self._record()
            return found if found is not None and (self._held_here() or self._is_live()) else None

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """One step that changes the state or its journal, which no other process can come between.

        Raises ``Conflict`` when the lock that this process took was broken, and ``Locked`` when it took
        none and somebody else holds it.
        """
        files.make_folders(self._path.parent)
        with self._mutex():
            self._refuse_broken()
            if self._held is None and (found := self._record()) is not None and self._is_live():
                raise _locked(self._path, found)
            yield

    def check(self) -> None:
        """See :meth:`keyform.ports.StateBackend.check_lock`. Where this process holds the lock, one look at
        the record file tells; it needs no mutex, since nothing is written."""
        if self._held is None:
            with self.guard():
                pass
        else:
            self._refuse_broken()

    def _refuse_broken(self) -> None:
        if self._held is not None and not self._held_here():
            raise Conflict(
                f"The lock of {self._path} was broken while this run held it; nothing more is written",
                "Somebody ran `keyform state unlock`. See what the state holds now, then plan again.",
            )

    @contextlib.contextmanager
    def _mutex(self) -> Iterator[None]:
        with self._threads:
            self._mutex_fd = fd = _open_private(self._mutex_path)
            try:
                if not _taken(fd):
                    found = self._record()
                    raise Locked(
                        f"The state {self._path} has been in the middle of a write for {_PATIENCE:.0f} "
                        f"seconds, by {_who(found) if found else 'another process'}",
                        "If that process is hung, end it (kill -9); its lock ends with it.",
                    )
                yield
            finally:
                if self._mutex_fd is not None:
                    fcntl.flock(fd, fcntl.LOCK_UN)  # in a child that was forked meanwhile, too
                    os.close(fd)
                    self._mutex_fd = None

    def _held_here(self) -> bool:
        """Whether the record file is the one that this process made."""
        if self._held is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._held), self._info.lstat())
        except FileNotFoundError:
            return False

    def _is_live(self) -> bool:
        """Whether some process has the OS lock on the record file."""
        try:
            fd = os.open(self._info, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def _record(self) -> LockRecord | None:
        try:
            data = self._info.read_bytes()
            since = self._info.stat().st_mtime
        except FileNotFoundError:
            return None
        try:
            raw = json.loads(data)
            return LockRecord(
                str(raw["id"]),
                str(raw["who"]),
                str(raw["host"]),
                int(raw["pid"]),
                str(raw["operation"]),
                parse_instant(raw["since"]),
            )
        except (ValueError, KeyError, TypeError):  # edited by hand; it still can be broken by this id
            return LockRecord("unreadable", "somebody", "?", 0, "?", datetime.fromtimestamp(since, UTC))

    def _drop(self) -> None:
        """Let go of the OS lock."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _after_fork(self) -> None:
        # The child shares the parent's OS lock through the descriptor; closing it here leaves the
        # parent's in force, and lets it end with the parent.
        self._threads = threading.Lock()
        if self._mutex_fd is not None:
            os.close(self._mutex_fd)
            self._mutex_fd = None
        self._drop()


def _open_private(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if stat.S_IMODE(os.fstat(fd).st_mode) != 0o600:  # the umask may have taken bits away
        os.fchmod(fd, 0o600)
    return fd


def _taken(fd: int) -> bool:
    """Whether the OS lock on ``fd`` could be had within the patience."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        else:
            return True


_alive: weakref.WeakSet[StateLock] = weakref.WeakSet()


def _forked() -> None:
    for lock in list(_alive):
        lock._after_fork()


os.register_at_fork(after_in_child=_forked)


def _dump(record: LockRecord) -> bytes:
    return json.dumps(
        {
            "id": record.id,
            "who": record.who,
            "host": record.host,
            "pid": record.pid,
            "operation": record.operation,
            "since": instant(record.since),
        }
    ).encode()


def _who(record: LockRecord) -> str:
    return f"{record.who} on {record.host} (process {record.pid}) for {record.operation}"


def _locked(path: Path, record: LockRecord) -> Locked:
    age = timedelta(seconds=max(0, int((datetime.now(UTC) - record.since).total_seconds())))
    return Locked(
        f"The state {path} is locked by {_who(record)}, since {instant(record.since)} ({age} ago)",
        "Wait until that run is over. If it is hung for good, break its lock with "
        f"`keyform state unlock {record.id}`.",
    )


def _not_locked(path: Path) -> StateError:
    return StateError(f"The state {path} is not locked", "There is nothing to unlock.")
