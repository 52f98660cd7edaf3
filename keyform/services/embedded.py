"""The reference key service inside this process, behind the same HTTP client as any other service."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import httpx

from keyform.errors import ServiceError
from keyform.model import Secret
from keyform.ports import Clock
from keyform.reference.app import ReferenceApp, create_app, has_data
from keyform.reference.faults import ConnectionDropped

ADDRESS = "http://embedded.localhost"
_READS = ("GET", "HEAD")


class InProcess(httpx.BaseTransport):
    """Requests to a reference service in this process; no socket is opened."""

    def __init__(self, app: ReferenceApp) -> None:
        self._app = app
        self._wsgi = httpx.WSGITransport(app)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return self._wsgi.handle_request(request)
        except ConnectionDropped as lost:
            raise httpx.RemoteProtocolError(str(lost), request=request) from None

    def close(self) -> None:
        self._app.close()


class Unbegun(httpx.BaseTransport):
    """A service that nobody has written to: until somebody does, an empty one in memory answers the reads, so
    that a plan in a fresh folder leaves nothing there."""

    def __init__(self, data: Path, begin: Callable[[Path | None], InProcess]) -> None:
        self._data = data
        self._begin = begin
        self._turn = threading.Lock()
        self._empty = begin(None)
        self._begun: InProcess | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._serving(request).handle_request(request)

    def close(self) -> None:
        self._empty.close()
        if self._begun is not None:
            self._begun.close()

    def _serving(self, request: httpx.Request) -> InProcess:
        with self._turn:
            if self._begun is None and (request.method not in _READS or has_data(self._data)):
                self._begun = self._begin(self._data)
            return self._begun or self._empty


def open_embedded(service: str, data: Path, clock: Clock) -> tuple[httpx.BaseTransport, Secret]:
    """The service whose data lies in ``data``, or will from the first write on, and a credential for it.

    The credential is made for this one opening: it is written nowhere and ends with the process.
    Raises ``ServiceError`` where the folder cannot be used.
    """
    token = secrets.token_urlsafe(32)

    def begin(folder: Path | None) -> InProcess:
        try:
            return InProcess(create_app(folder, root_token=token, clock=lambda: clock.now().timestamp()))
        except (OSError, sqlite3.Error) as problem:
            raise ServiceError(
                f"service {service!r}: cannot use the folder {data}: {problem}",
                "Check its permissions and content, or set `path` on the service to another folder.",
            ) from None

    return Unbegun(data, begin) if _unbegun(data) else begin(data), Secret(token)


def _unbegun(data: Path) -> bool:
    try:
        return not data.exists() or (data.is_dir() and not has_data(data))
    except OSError:
        return False  # opening it will tell why
