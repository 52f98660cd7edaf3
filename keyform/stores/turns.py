"""One at a time, among the threads and processes of a user: for stores that have no conditional writes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from keyform import files
from keyform.errors import StoreError

_LOCKS = 256  # files in all, however many places there are; two places seldom share one


@contextmanager
def turn(store: str, what: str, env: Mapping[str, str], timeout: float = 60.0) -> Iterator[None]:
    """Keep others who take a turn at ``what`` out while the block runs. ``what`` tells the same place of the
    same store from all others; turns must not be nested. Raises ``StoreError`` when others take theirs for
    longer than ``timeout`` seconds."""
    folder = _folder(env)
    number = int.from_bytes(hashlib.sha256(what.encode(errors="surrogateescape")).digest()[:4]) % _LOCKS
    try:
        files.make_folders(folder)
        lock = FileLock(folder / f"{number:03}.lock", timeout=timeout, poll_interval=0.01, mode=0o600)
        lock.acquire()
    except Timeout:
        raise StoreError(
            f"Store {store!r} waited {timeout:g} s for another keyform that writes there",
            "Wait until it is done, or find out why it is not.",
        ) from None
    except OSError as problem:
        raise StoreError(
            f"Store {store!r} cannot make sure that nobody else writes there: {folder} cannot be used: "
            f"{files.reason(problem)}",
            "Set XDG_CACHE_HOME to a folder of your own that can be written to.",
        ) from None
    try:
        yield
    finally:
        lock.release()


def _folder(env: Mapping[str, str]) -> Path:
    base = env.get("XDG_CACHE_HOME", "")
    home = Path(env["HOME"]) if env.get("HOME") else Path("~").expanduser()
    # The XDG specification has relative paths ignored.
    return (Path(base) if base.startswith("/") else home / ".cache") / "keyform" / "turns"
