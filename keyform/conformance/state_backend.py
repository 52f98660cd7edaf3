"""What every state backend must do. See :class:`StateBackendConformance`."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

import pytest

from keyform.errors import Conflict, Locked, StateError
from keyform.ports import LockRecord, StateBackend

Opener = Callable[[], StateBackend]


def record(lock_id: str = "lock-1", operation: str = "apply") -> LockRecord:
    """A lock record of this process."""
    return LockRecord(
        lock_id, "alice", "build-7", os.getpid(), operation, datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
    )


class StateBackendConformance:
    """Subclass it and override the fixture ``open_backend``: a function that opens the same, at first
    empty state anew at each call. It must be picklable (``functools.partial`` of a class will do),
    since other processes call it too.
    """

    @pytest.fixture
    def open_backend(self) -> Opener:
        raise NotImplementedError("override the fixture open_backend")

    @pytest.fixture
    def backend(self, open_backend: Opener) -> StateBackend:
        return open_backend()

    # The state

    def test_there_is_none_at_first(self, backend: StateBackend) -> None:
        assert backend.read() is None
        assert backend.holder() is None
        assert backend.journal.read() == b""

    def test_what_was_written_is_read(self, backend: StateBackend, open_backend: Opener) -> None:
        backend.lock(record())
        version = backend.write(b'{"serial": 1}\n', None)
        for reader in (backend, open_backend()):
            snapshot = reader.read()
            assert snapshot is not None
            assert (snapshot.data, snapshot.version) == (b'{"serial": 1}\n', version)

    def test_a_chain_of_writes(self, backend: StateBackend) -> None:
        backend.lock(record())
        version = None
        for serial in range(5):
            version = backend.write(b"state %d" % serial, version)
        snapshot = backend.read()
        assert snapshot is not None
        assert snapshot.data == b"state 4"

    def test_a_lost_update_is_refused(self, backend: StateBackend) -> None:
        backend.lock(record())
        first = backend.write(b"first", None)
        second = backend.write(b"second", first)
        for stale in (first, None, "no version at all"):
            with pytest.raises(Conflict):
                backend.write(b"third", stale)
        snapshot = backend.read()
        assert snapshot is not None
        assert (snapshot.data, snapshot.version) == (b"second", second)

    def test_a_lock_of_ones_own_is_told_from_a_broken_one(
        self, backend: StateBackend, open_backend: Opener
    ) -> None:
        backend.check_lock()
        backend.lock(record())
        backend.check_lock()
        open_backend().unlock("lock-1")
        with pytest.raises(Conflict):
            backend.check_lock()

    def test_expecting_a_version_of_nothing_is_a_conflict(self, backend: StateBackend) -> None:
        backend.lock(record())
        with pytest.raises(Conflict):
            backend.write(b"first", "a version")
        assert backend.read() is None

    def test_of_many_threads_with_one_version_one_wins(self, backend: StateBackend) -> None:
        backend.lock(record())
        start = backend.write(b"start", None)

        def attempt(number: int) -> bytes | None:
            try:
                backend.write(b"from %d" % number, start)
            except Conflict:
                return None
            return b"from %d" % number

        with ThreadPoolExecutor(8) as threads:
            won = [data for data in threads.map(attempt, range(8)) if data is not None]
        snapshot = backend.read()
        assert snapshot is not None
        assert won == [snapshot.data]

    def test_messages_can_say_where_it_is(self, backend: StateBackend) -> None:
        assert backend.describe()

    # The lock

    def test_locking_twice_is_refused_with_the_holder(
        self, backend: StateBackend, open_backend: Opener
    ) -> None:
        assert backend.lock(record("first", "destroy")) is None
        for other in (backend, open_backend()):
            with pytest.raises(Locked) as refused:
                other.lock(record("second"))
            [diagnostic] = refused.value.diagnostics
            for part in ("alice", "build-7", str(os.getpid()), "destroy", "2026-11-20T04:00:00Z"):
                assert part in diagnostic.summary
            assert "keyform state unlock first" in diagnostic.detail
            assert other.holder() == record("first", "destroy")

    def test_an_unlocked_state_can_be_locked_again(self, backend: StateBackend, open_backend: Opener) -> None:
        backend.lock(record("first"))
        backend.unlock("first")
        assert backend.holder() is None
        other = open_backend()
        assert other.lock(record("second")) is None, "a clean unlock leaves no dead holder behind"
        assert backend.holder() == record("second")

    def test_unlocking_needs_the_right_id(self, backend: StateBackend, open_backend: Opener) -> None:
        with pytest.raises(StateError):
            backend.unlock("first")
        backend.lock(record("first"))
        for other in (backend, open_backend()):
            with pytest.raises(StateError):
                other.unlock("another")
        assert backend.holder() == record("first")

    def test_of_many_threads_one_gets_the_lock(self, open_backend: Opener) -> None:
        def attempt(number: int) -> str | None:
            try:
                open_backend_of_thread[number].lock(record(f"lock-{number}"))
            except Locked:
                return None
            return f"lock-{number}"

        open_backend_of_thread = [open_backend() for _ in range(8)]
        with ThreadPoolExecutor(8) as threads:
            won = [lock_id for lock_id in threads.map(attempt, range(8)) if lock_id]
        holder = open_backend().holder()
        assert holder is not None
        assert won == [holder.id]

    def test_the_lock_excludes_other_processes(self, backend: StateBackend, open_backend: Opener) -> None:
        with _holding(open_backend) as (_, held):
            assert backend.holder() == held
            with pytest.raises(Locked, match=str(held.pid)):
                backend.lock(record("mine"))
        assert backend.lock(record("mine")) is None

    def test_a_dead_holder_is_told_apart(self, backend: StateBackend, open_backend: Opener) -> None:
        with _holding(open_backend) as (process, held):
            os.kill(held.pid, signal.SIGKILL)
            process.join()
            assert backend.holder() is None, "the dead hold nothing"
            assert backend.lock(record("mine")) == held
            assert backend.holder() == record("mine")
            backend.unlock("mine")
            assert backend.lock(record("again")) is None, "a dead holder is reported once"

    def test_a_dead_holders_lock_can_be_unlocked(self, backend: StateBackend, open_backend: Opener) -> None:
        with _holding(open_backend) as (process, held):
            os.kill(held.pid, signal.SIGKILL)
            process.join()
        backend.unlock(held.id)
        assert backend.lock(record("mine")) is None

    def test_the_holder_of_a_broken_lock_cannot_write(
        self, backend: StateBackend, open_backend: Opener
    ) -> None:
        backend.lock(record("first"))
        version = backend.write(b"before", None)
        open_backend().unlock("first")
        with pytest.raises(Conflict):
            backend.write(b"after the break", version)

        other = open_backend()
        assert other.lock(record("second")) is None
        with pytest.raises(Conflict):
            backend.write(b"after another took it", version)
        other.write(b"the new holder's", version)
        snapshot = backend.read()
        assert snapshot is not None
        assert snapshot.data == b"the new holder's"

        with pytest.raises(StateError):
            backend.unlock("first")
        assert other.holder() == record("second"), "the old holder cannot release the new one's lock"

    def test_another_process_breaks_a_lock(self, backend: StateBackend, open_backend: Opener) -> None:
        with _holding(open_backend) as (_, held):
            backend.unlock(held.id)
            assert backend.lock(record("mine")) is None
            backend.write(b"mine", None)
        snapshot = backend.read()
        assert snapshot is not None
        assert snapshot.data == b"mine"
        assert backend.holder() == record("mine"), "the end of the old holder leaves the new lock alone"

    # The journal

    def test_lines_come_back_in_order(self, backend: StateBackend, open_backend: Opener) -> None:
        backend.lock(record())
        backend.journal.append(b"one\n")
        backend.journal.append(b"two\nthree\n")
        assert backend.journal.read() == b"one\ntwo\nthree\n"
        assert open_backend().journal.read() == b"one\ntwo\nthree\n"

    def test_clearing_empties_it(self, backend: StateBackend, open_backend: Opener) -> None:
        backend.lock(record())
        backend.journal.clear()
        backend.journal.append(b"one\n")
        backend.journal.clear()
        assert open_backend().journal.read() == b""
        backend.journal.append(b"two\n")
        assert open_backend().journal.read() == b"two\n"

    def test_threads_append_at_once_and_lines_stay_whole(self, backend: StateBackend) -> None:
        backend.lock(record())

        def append(thread: int) -> None:
            for number in range(25):
                backend.journal.append(b"%d:%d:%s\n" % (thread, number, b"x" * (thread * 100)))

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(append, range(8)))
        seen: dict[int, list[int]] = {thread: [] for thread in range(8)}
        for line in backend.journal.read().splitlines():
            thread, number, filling = line.split(b":")
            assert filling == b"x" * (int(thread) * 100)
            seen[int(thread)].append(int(number))
        assert seen == {thread: list(range(25)) for thread in range(8)}

    def test_the_state_and_the_journal_are_two_things(self, backend: StateBackend) -> None:
        backend.lock(record())
        backend.journal.append(b"line\n")
        version = backend.write(b"state", None)
        backend.journal.clear()
        snapshot = backend.read()
        assert snapshot is not None
        assert snapshot.version == version

    def test_the_journal_outlives_its_writer(self, backend: StateBackend, open_backend: Opener) -> None:
        with _holding(open_backend, b"intent\n") as (process, held):
            os.kill(held.pid, signal.SIGKILL)
            process.join()
        assert backend.lock(record("mine")) == held
        assert backend.journal.read() == b"intent\n"


def _hold(open_backend: Opener, lines: bytes, pipe: Connection) -> None:
    """Take the lock, say so, and keep it until told to let go. Runs in another process."""
    backend = open_backend()
    held = record(f"lock-of-{os.getpid()}")
    backend.lock(held)
    if lines:
        backend.journal.append(lines)
    pipe.send(held)
    pipe.recv()
    try:
        backend.unlock(held.id)
    except StateError:  # broken meanwhile
        pipe.send("broken")


@contextmanager
def _holding(open_backend: Opener, lines: bytes = b"") -> Iterator[tuple[Any, LockRecord]]:
    """A process that holds the lock inside the block; it unlocks at the end if it still lives."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_hold, args=(open_backend, lines, there))
    process.start()
    there.close()
    try:
        yield process, here.recv()
    finally:
        if process.is_alive():
            here.send("let go")
        process.join()
        here.close()
