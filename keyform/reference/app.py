"""The reference key service as a WSGI application."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from filelock import FileLock

from . import DIALECTS, contract
from .account import Account, Options
from .catalogue import CONTRACT
from .credentials import new_pepper, new_root_token, read_or_create
from .faults import PATH as FAULTS_PATH
from .faults import FaultLayer, Faults, FaultScript
from .limiter import RateLimit
from .storage import Storage
from .web import App, cursor_after


class ReferenceApp:
    """A WSGI callable over one data folder. Close it when it has served its last request."""

    def __init__(self, application: WSGIApplication, storages: Iterable[Storage]) -> None:
        self._application = application
        self._storages = tuple(storages)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request. Raises ConnectionDropped where a fault script loses the connection."""
        return self._application(environ, start_response)

    def close(self) -> None:
        """Close the databases."""
        for storage in self._storages:
            storage.close()


_OWN = "keys"
_SUFFIX = ".sqlite3"


def create_app(
    data: Path | None,
    *,
    root_token: str | None = None,
    limit: RateLimit | None = None,
    clock: Callable[[], float] = time.time,
    faults: Faults | None = None,
    service: str | None = None,
    services: Iterable[str] = (),
    options: Options | None = None,
) -> ReferenceApp:
    """Open, or create, the service whose data lies in the folder `data`; None for one that lives in memory.

    Many threads may call the application, and many processes may open the same folder at once.
    root_token: the first management credential of every dialect; None takes the one kept in the folder.
    limit: what each management credential may do; None for no limit but a vendor's own. The buckets live in
    this process.
    clock: Unix time in seconds. faults: a script that strikes requests; None switches the means off.
    service: the dialect, one of DIALECTS, that is spoken at `/`; None for keyform's own contract.
    services: the dialects that are spoken under `/NAME/` besides. Each has keys of its own, the same ones at
    `/` as under its name. options: plans and choices of the vendors' accounts.
    Raises OSError where the folder cannot be used, or where its keys are there and their pepper is not;
    ValueError for a dialect that does not exist.
    """
    mounted = tuple(dict.fromkeys(services))
    unknown = sorted({*mounted, service or DIALECTS[0]} - set(DIALECTS))
    if unknown:
        raise ValueError(f"there is no service {unknown[0]!r}; services: {', '.join(DIALECTS)}")
    with nullcontext() if data is None else _locked(data):
        token = root_token or (new_root_token() if data is None else _kept_root_token(data))
        pepper = new_pepper() if data is None else _pepper(data)

        def account(name: str) -> Account:
            storage = Storage(None if data is None else data / f"{name}{_SUFFIX}")
            return Account(storage, pepper, token, clock, limit, options or Options())

        own = account(_OWN)
        base = contract.build(*own.core(CONTRACT), CONTRACT)
        storages = [own.storage]
        dialects: dict[str, App] = {}
        if service or mounted:
            # Not needed for keyform's own contract, so that it starts as fast as it did alone.
            from .dialects import BUILDERS

            for name in dict.fromkeys((*mounted, *([service] if service else []))):
                its = account(name)
                storages.append(its.storage)
                dialects[name] = BUILDERS[name](its)
    paths: dict[str, WSGIApplication] = {f"/{name}": dialects[name] for name in mounted}
    if faults is not None:
        base.add_route(FAULTS_PATH, FaultScript(faults))
    at_root = dialects[service] if service else base
    application = _Mounts(at_root, paths, base)
    if faults is None:
        return ReferenceApp(application, storages)
    return ReferenceApp(FaultLayer(application, faults, cursor_after(0)), storages)


def has_data(data: Path) -> bool:
    """Whether a service has been created in the folder. Raises OSError where that cannot be seen."""
    return (data / f"{_OWN}{_SUFFIX}").exists()


def root_token(data: Path) -> str:
    """The root token kept in the data folder; made on first use. Raises OSError."""
    with _locked(data):
        return _kept_root_token(data)


class _Mounts:
    """Sends each request to the dialect whose path it begins with."""

    def __init__(
        self, at_root: WSGIApplication, paths: Mapping[str, WSGIApplication], scripts: WSGIApplication
    ) -> None:
        self._at_root = at_root
        self._paths = paths
        self._scripts = scripts

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == FAULTS_PATH:
            return self._scripts(environ, start_response)
        first = path[: path.find("/", 1)] if "/" in path[1:] else path
        mounted = self._paths.get(first)
        if mounted is None:
            return self._at_root(environ, start_response)
        inner = {
            **environ,
            "SCRIPT_NAME": environ.get("SCRIPT_NAME", "") + first,
            "PATH_INFO": path[len(first) :] or "/",
        }
        return mounted(inner, start_response)


def _pepper(data: Path) -> bytes:
    file = data / "pepper"
    if not file.exists() and any(map(_has_keys, data.glob("*" + _SUFFIX))):
        what = "the pepper is missing, without which none of its keys can be verified; bring the file back"
        raise FileNotFoundError(errno.ENOENT, what, str(file))
    return read_or_create(file, new_pepper())


def _has_keys(database: Path) -> bool:
    storage = Storage(database)
    try:
        return bool(storage.fetch("SELECT 1 FROM keys LIMIT 1"))
    finally:
        storage.close()


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """The lock under which processes that open the folder at once create its files."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(data / "lock", mode=0o600).acquire(poll_interval=0.005):
        yield


def _kept_root_token(data: Path) -> str:
    return read_or_create(data / "root-token", new_root_token().encode() + b"\n").decode().strip()
