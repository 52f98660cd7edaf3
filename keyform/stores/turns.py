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

Names = str | tuple[str, ...]
Turn = tuple[int, ...]
"""The descriptors of the locks that are held."""


@contextmanager
def turn(store: str, what: Names, env: Mapping[str, str], timeout: float = 60.0) -> Iterator[Turn]:
    """Keep others who take a turn at ``what``, or any of it, out while the block runs. Each name tells the
    same place of the same store from all others; turns must not be nested. Raises ``StoreError`` when others
    take theirs for longer than ``timeout`` seconds.

    Yields the locks' descriptors. A program that writes inherits them (``programs.run``): should keyform be
    killed, the turn lasts until the program has ended too, and its late write cannot undo a later one.
    """
    held: list[int] = []
    try:
        for file in _files(what, env):  # in one order everywhere, so that nobody waits in a circle
            held.append(_opened(store, file))
            _wait(store, held[-1], fcntl.LOCK_EX, file, timeout)
        try:
            yield tuple(held)
        finally:
            for fd in held:
                fcntl.flock(fd, fcntl.LOCK_UN)  # for what a program left running too: its command has ended
    finally:
        for fd in held:
            os.close(fd)


def settled(store: str, what: Names, env: Mapping[str, str], timeout: float = 60.0) -> None:
    """Wait until nobody has a turn at ``what``, or any of it, so that a reader does not come before a write
    that a killed keyform began. Raises ``StoreError`` after ``timeout`` seconds. Writes nothing."""
    for file in _files(what, env):
        try:
            fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # nobody has taken a turn here, or nobody can
        with contextlib.closing(os.fdopen(fd)):
            _wait(store, fd, fcntl.LOCK_SH, file, timeout)


def _opened(store: str, file: Path) -> int:
    try:
        files.make_folders(file.parent)
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise StoreError(
            f"Store {store!r} cannot make sure that nobody else writes there: {file.parent} cannot be used: "
            f"{files.reason(problem)}",
            "Set XDG_CACHE_HOME to a folder of your own that can be written to.",
        ) from None


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


def _files(what: Names, env: Mapping[str, str]) -> list[Path]:
    base = env.get("XDG_CACHE_HOME", "")
    home = Path(env["HOME"]) if env.get("HOME") else Path("~").expanduser()
    # The XDG specification has relative paths ignored.
    folder = (Path(base) if base.startswith("/") else home / ".cache") / "keyform" / "turns"
    return sorted(
        {folder / f"{_number(one):03}.lock" for one in ((what,) if isinstance(what, str) else what)}
    )


def _number(what: str) -> int:
    return int.from_bytes(hashlib.sha256(what.encode(errors="surrogateescape")).digest()[:4]) % _LOCKS
