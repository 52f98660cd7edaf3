"""One at a time, among the threads and processes of a user: for stores that have no conditional writes."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from keyform import files
from keyform.errors import StoreError

_LOCKS = 256  # files in all, however many places there are; two places seldom share one
_PAUSE = 0.01  # seconds between two looks at a lock that others have


@contextmanager
def turn(store: str, what: str, env: Mapping[str, str], timeout: float = 60.0) -> Iterator[int]:
    """Keep others who take a turn at ``what`` out while the block runs. ``what`` tells the same place of the
    same store from all others; turns must not be nested. Raises ``StoreError`` when others take theirs for
    longer than ``timeout`` seconds.

    Yields the lock's descriptor. A program that writes inherits it (``programs.run``): should keyform be
    killed, the turn lasts until the program has ended too, and its late write cannot undo a later one.
    """
    file = _file(what, env)
    try:
        files.make_folders(file.parent)
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise StoreError(
            f"Store {store!r} cannot make sure that nobody else writes there: {file.parent} cannot be used: "
            f"{files.reason(problem)}",
            "Set XDG_CACHE_HOME to a folder of your own that can be written to.",
        ) from None
    try:
        _wait(store, fd, fcntl.LOCK_EX, file, timeout)
        try:
            yield fd
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # for what a program left running too: its command has ended
    finally:
        os.close(fd)


def settled(store: str, what: str, env: Mapping[str, str], timeout: float = 60.0) -> None:
    """Wait until nobody has a turn at ``what``, so that a reader does not come before a write that a killed
    keyform began. Raises ``StoreError`` after ``timeout`` seconds. Writes nothing."""
    file = _file(what, env)
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return  # nobody has taken a turn here, or nobody can
    with contextlib.closing(os.fdopen(fd)):
        _wait(store, fd, fcntl.LOCK_SH, file, timeout)


def _wait(store: str, fd: int, kind: int, file: Path, timeout: float) -> None:
    end = time.monotonic() + timeout
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            return
        if time.monotonic() >= end:
            raise StoreError(
                f"Store {store!r} waited {timeout:g} s for another keyform, or for a command that one which "
                "was killed has left running",
                f"Wait until it is done, or end it if it hangs; `fuser {file}` tells which process it is.",
            )
        time.sleep(_PAUSE)


def _file(what: str, env: Mapping[str, str]) -> Path:
    base = env.get("XDG_CACHE_HOME", "")
    home = Path(env["HOME"]) if env.get("HOME") else Path("~").expanduser()
    # The XDG specification has relative paths ignored.
    folder = (Path(base) if base.startswith("/") else home / ".cache") / "keyform" / "turns"
    number = int.from_bytes(hashlib.sha256(what.encode(errors="surrogateescape")).digest()[:4]) % _LOCKS
    return folder / f"{number:03}.lock"
