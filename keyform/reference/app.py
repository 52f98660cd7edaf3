"""The reference key service as a WSGI application."""

from __future__ import annotations

import errno
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


_DATABASE = "keys.sqlite3"


def create_app(
    data: Path | None,
    *,
    root_token: str | None = None,
    limit: RateLimit | None = None,
    clock: Callable[[], float] = time.time,
    faults: Faults | None = None,
) -> ReferenceApp:
    """Open, or create, the service whose data lies in the folder `data`; None for one that lives in memory.

    Many threads may call the application, and many processes may open the same folder at once.
    root_token: the first management credential; None takes the one kept in the folder.
    limit: what each management credential may do; None for no limit. The buckets live in this process.
    clock: Unix time in seconds. faults: a script that strikes requests; None switches the means off.
    Raises OSError where the folder cannot be used, or where its keys are there and their pepper is not.
    """
    if data is None:
        token, mint, storage = root_token or new_root_token(), Mint(new_pepper()), Storage(None)
    else:
        with _locked(data):
            token = _kept_root_token(data) if root_token is None else root_token
            storage = Storage(data / _DATABASE)
            try:
                mint = Mint(_pepper(data / "pepper", storage))
            except OSError:
                storage.close()
                raise
    service = KeyService(storage, mint, CONTRACT, clock)
    verifier = Verifier(storage, mint, CONTRACT, clock, root_token=token, limit=limit)
    application = contract.build(service, verifier)
    if faults is None:
        return ReferenceApp(application, storage)
    application.add_route(FAULTS_PATH, FaultScript(faults))
    return ReferenceApp(FaultLayer(application, faults, contract.cursor_after(0)), storage)


def has_data(data: Path) -> bool:
    """Whether a service has been created in the folder. Raises OSError where that cannot be seen."""
    return (data / _DATABASE).exists()


def root_token(data: Path) -> str:
    """The root token kept in the data folder; made on first use. Raises OSError."""
    with _locked(data):
        return _kept_root_token(data)


def _pepper(file: Path, storage: Storage) -> bytes:
    if not file.exists() and storage.fetch("SELECT 1 FROM keys LIMIT 1"):
        what = "the pepper is missing, without which none of its keys can be verified; bring the file back"
        raise FileNotFoundError(errno.ENOENT, what, str(file))
    return read_or_create(file, new_pepper())


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """The lock under which processes that open the folder at once create its files."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(data / "lock", mode=0o600).acquire(poll_interval=0.005):
        yield


def _kept_root_token(data: Path) -> str:
    return read_or_create(data / "root-token", new_root_token().encode() + b"\n").decode().strip()
