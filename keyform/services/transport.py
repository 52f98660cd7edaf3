"""Connections to an endpoint, with the environment's proxy and its certificates."""

from __future__ import annotations

import ssl
import urllib.request

import httpx

from keyform.services.endpoint import is_loopback

_CONNECTIONS = 64


def network_transport(endpoint: str) -> httpx.BaseTransport:
    """Connections to an endpoint over the network, by the environment's proxy unless it is this machine."""
    url = httpx.URL(endpoint)
    proxy = None
    if not is_loopback(url.host) and not urllib.request.proxy_bypass(url.host):
        proxy = urllib.request.getproxies().get(url.scheme)
    limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
    # Plain http checks no certificates, and reading the trusted ones takes a while.
    verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.scheme == "http" and proxy is None else True
    return httpx.HTTPTransport(verify=verify, limits=limits, proxy=proxy)
