"""The reference key service as a WSGI application."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from filelock import FileLock

from . import contract
from .catalogue import CONTRACT
from .credentials import Mint, new_pepper, new_root_token, read_or_create
from .faults import PATH as FAULTS_PATH
from .faults import FaultLayer, Faults, FaultScript
from .limiter import RateLimit
from .service import KeyService
from .storage import Storage
from .verification import Verifier


class ReferenceApp:
    """A WSGI callable over one data folder. Close it when it has served its last request."""

    def __init__(self, application: WSGIApplication, storage: Storage) -> None:
        self._application = application
        self._storage = storage

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request. Raises ConnectionDropped where a fault script loses the connection."""
        return self._application(environ, start_response)

    def close(self) -> None:
        """Close the database."""
        self._storage.close()


def create_app(
    data: Path,
    *,
    root_token: str | None = None,
    limit: RateLimit | None = None,
    clock: Callable[[], float] = time.time,
    faults: Faults | None = None,
) -> ReferenceApp:
    """Open, or create, the service whose data lies in the folder `data`.

    Many threads may call the application, and many processes may open the same folder at once.
    root_token: the first management credential; None takes the one kept in the folder.
    limit: what each management credential may do; None for no limit. The buckets live in this process.
    clock: Unix time in seconds. faults: a script that strikes requests; None switches the means off.
    Raises OSError where the folder cannot be used.
    """
    with _locked(data):
        token = _kept_root_token(data) if root_token is None else root_token
        mint = Mint(read_or_create(data / "pepper", new_pepper()))
        storage = Storage(data / "keys.sqlite3")
    service = KeyService(storage, mint, CONTRACT, clock)
    verifier = Verifier(storage, mint, CONTRACT, clock, root_token=token, limit=limit)
    application = contract.build(service, verifier)
    if faults is None:
        return ReferenceApp(application, storage)
    application.add_route(FAULTS_PATH, FaultScript(faults))
    return ReferenceApp(FaultLayer(application, faults, contract.cursor_after(0)), storage)


def root_token(data: Path) -> str:
    """The root token kept in the data folder; made on first use. Raises OSError."""
    with _locked(data):
        return _kept_root_token(data)


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """The lock under which processes that open the folder at once create its files."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(data / "lock", mode=0o600).acquire(poll_interval=0.005):
        yield


def _kept_root_token(data: Path) -> str:
    return read_or_create(data / "root-token", new_root_token().encode() + b"\n").decode().strip()
