"""Connections to an endpoint, with the environment's proxy and its certificates."""

from __future__ import annotations

import ssl
import threading
import urllib.request
from collections.abc import Callable

import httpx

from keyform.services.endpoint import is_loopback

_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1)


def network_transport(endpoint: str) -> httpx.BaseTransport:
    """Connections to an endpoint over the network, by the environment's proxy unless it is this machine."""
    url = httpx.URL(endpoint)
    proxy = None
    if not is_loopback(url.host) and not urllib.request.proxy_bypass(url.host):
        proxy = urllib.request.getproxies().get(url.scheme)
    # Plain http checks no certificates, and reading the trusted ones takes a while.
    plain = url.scheme == "http" and proxy is None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else httpx.create_ssl_context()
    return _PerThread(lambda: httpx.HTTPTransport(verify=context, limits=_ONE, proxy=proxy))


class _PerThread(httpx.BaseTransport):
    """A connection for each thread. One pool for all would look at every idle connection of every other
    thread at each request, which costs more than the request."""

    def __init__(self, make: Callable[[], httpx.BaseTransport]) -> None:
        self._make = make
        self._own = threading.local()
        self._all: list[httpx.BaseTransport] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        transport: httpx.BaseTransport | None = getattr(self._own, "transport", None)
        if transport is None:
            transport = self._own.transport = self._make()
            self._all.append(transport)
        return transport.handle_request(request)

    def close(self) -> None:
        for transport in self._all:
            transport.close()
