"""Serving the reference key service over HTTP."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import waitress.server
from waitress.channel import ClientDisconnected

from .account import Options
from .app import create_app
from .faults import ConnectionDropped, Faults
from .limiter import RateLimit

# The server prints nothing: without a handler, logging would write warnings to stderr.
logging.getLogger("waitress").addHandler(logging.NullHandler())

_THREADS = 8
# Bodies up to this size stay in memory: a verify carries a secret, and a secret goes into no spool file.
_MAX_BODY_BYTES = 1024 * 1024


def serve(
    data: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    limit: RateLimit | None = None,
    faults: bool = False,
    on_ready: Callable[[str], None],
    allow_remote: bool = False,
    service: str | None = None,
    services: Iterable[str] = (),
    options: Options | None = None,
) -> None:
    """Serve the folder `data` until SIGTERM or SIGINT, then finish the requests in flight and return.

    port 0 lets the system choose; on_ready gets the base URL once the port is bound.
    faults: whether PUT /_faults may install a fault script.
    service, services, options: which dialects are spoken at `/` and under `/NAME/`; see create_app.
    Raises ValueError for a dialect that does not exist, and for a host that other machines can reach, unless
    allow_remote says that this is meant: the service speaks plain HTTP, so secrets would cross the network in
    clear. Raises OSError where the address or the folder cannot be used.
    """
    if not allow_remote and not _is_loopback(host):
        raise ValueError(
            f"{host} can be reached from other machines, and this service speaks plain HTTP; "
            "bind 127.0.0.1, or allow remote use behind a proxy that adds TLS"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        bound = listener.getsockname()[1]
        application = create_app(
            data,
            limit=limit,
            faults=Faults() if faults else None,
            service=service,
            services=services,
            options=options,
        )
        try:
            server = waitress.server.create_server(
                _breaking_connections(application),
                sockets=[listener],
                threads=_THREADS,
                ident="",
                max_request_body_size=_MAX_BODY_BYTES,
                inbuf_overflow=2 * _MAX_BODY_BYTES,
                clear_untrusted_proxy_headers=True,
            )
            with _stopped_by_signals():
                on_ready(
                    f"http://[{host}]:{bound}" if family is socket.AF_INET6 else f"http://{host}:{bound}"
                )
                server.run()
            server.close()
        finally:
            application.close()


class _Stop(SystemExit):
    """A signal asked the server to stop."""


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Leave the block quietly on SIGTERM or SIGINT. Python delivers signals to the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        for quiet in earlier:
            signal.signal(quiet, signal.SIG_IGN)
        raise _Stop

    earlier = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for number in earlier:
            signal.signal(number, stop)
        yield
    except _Stop:
        pass
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _breaking_connections(application: WSGIApplication) -> WSGIApplication:
    """Turn a scripted loss of the connection into one that the client sees on its socket."""

    def serve_one(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return application(environ, start_response)
        except ConnectionDropped:
            # waitress closes the connection without an answer when its client is gone.
            raise ClientDisconnected from None

    return serve_one


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
