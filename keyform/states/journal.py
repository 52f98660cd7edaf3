"""The journal of a local state: one file beside it, appended with one flush for all who wait."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from keyform import files
from keyform.errors import StateError
from keyform.states.lock import StateLock


class _Batch:
    """Lines that go to the disk together."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.done = threading.Event()
        self.problem: StateError | None = None


class LocalJournal:
    """A :class:`~keyform.ports.Journal` in the file at ``path``.

    The thread whose lines open a batch writes it; lines that come while the batch before it is being
    flushed join it, so that many threads share one flush.
    """

    def __init__(self, path: Path, lock: StateLock) -> None:
        self._path = path
        self._lock = lock
        self._gathering = threading.Lock()
        self._turn = threading.Lock()
        self._batch = _Batch()

    def append(self, lines: bytes) -> None:
        """See :class:`~keyform.ports.Journal`. Raises ``ValueError`` when the last line is not complete."""
        if not lines.endswith(b"\n"):
            raise ValueError("a journal takes complete lines")
        with self._gathering:
            batch = self._batch
            batch.lines.append(lines)
            opened = len(batch.lines) == 1
        if opened:
            self._flush(batch)
        else:
            batch.done.wait()
        if batch.problem is not None:
            raise type(batch.problem)(batch.problem.diagnostics)

    def read(self) -> bytes:
        """See :class:`~keyform.ports.Journal`."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as problem:
            raise self._failed("read", problem) from None
        return data[: data.rfind(b"\n") + 1]

    def clear(self) -> None:
        """See :class:`~keyform.ports.Journal`."""
        try:
            with self._lock.guard(), contextlib.suppress(FileNotFoundError):
                self._path.unlink()
                files.sync_folder(self._path.parent)
        except OSError as problem:
            raise self._failed("cleared", problem) from None

    def _flush(self, batch: _Batch) -> None:
        batch.problem = StateError(
            f"The journal {self._path} was not written: the run was interrupted", "Run it again."
        )
        try:
            with self._turn:
                self._close(batch)
                self._write(b"".join(batch.lines))
            batch.problem = None
        except StateError as problem:
            batch.problem = problem
        except OSError as problem:
            batch.problem = self._failed("written", problem)
        finally:
            self._close(batch)
            batch.done.set()

    def _close(self, batch: _Batch) -> None:
        """From now on lines gather in another batch."""
        with self._gathering:
            if self._batch is batch:
                self._batch = _Batch()

    def _write(self, data: bytes) -> None:
        with self._lock.guard():
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(self._path, flags, 0o600)
            try:
                whole = _whole_lines(fd)
                if whole == 0:  # the file may be new
                    os.fchmod(fd, 0o600)
                    files.sync_folder(self._path.parent)
                try:
                    files.write_all(fd, data)
                    files.sync(fd)
                except OSError:
                    # What failed is not in the journal: a half line must not join the next one.
                    os.ftruncate(fd, whole)
                    raise
            finally:
                os.close(fd)

    def _failed(self, what: str, problem: OSError) -> StateError:
        return StateError(
            f"The journal {self._path} could not be {what}: {files.reason(problem)}", files.advice(problem)
        )


def _whole_lines(fd: int) -> int:
    """The size in bytes of the complete lines; a torn last one (a crash while writing) is cut off."""
    size = end = os.fstat(fd).st_size
    while end and os.pread(fd, 1, end - 1) != b"\n":
        end -= 1
    if end != size:
        os.ftruncate(fd, end)
    return end
