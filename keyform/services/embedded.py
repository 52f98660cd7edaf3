"""The reference key service inside this process, behind the same HTTP client as any other service."""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path

import httpx

from keyform.errors import ServiceError
from keyform.model import Secret
from keyform.ports import Clock
from keyform.reference.app import ReferenceApp, create_app
from keyform.reference.faults import ConnectionDropped

ADDRESS = "http://embedded.localhost"


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


def open_embedded(service: str, data: Path, clock: Clock) -> tuple[httpx.BaseTransport, Secret]:
    """The service whose data lies in ``data``, and a credential for it.

    The credential is made for this one opening: it is written nowhere and ends with the process.
    Raises ``ServiceError`` where the folder cannot be used.
    """
    token = secrets.token_urlsafe(32)
    try:
        app = create_app(data, root_token=token, clock=lambda: clock.now().timestamp())
    except (OSError, sqlite3.Error) as problem:
        raise ServiceError(
            f"service {service!r}: cannot use the folder {data}: {problem}",
            "Check its permissions and content, or set `path` on the service to another folder.",
        ) from None
    return InProcess(app), Secret(token)
