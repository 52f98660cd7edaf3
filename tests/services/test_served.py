"""The same client against the service over a real socket."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from keyform import __version__
from keyform.clock import SystemClock
from keyform.errors import Refused, Unreachable
from keyform.model import KeySpec

SPEC = KeySpec(kind="secret", environment="live", name="key", scopes=("events:write",))


def test_many_threads_share_one_client(served: Any, connect: Callable[..., Any]) -> None:
    endpoint, root = served
    service = connect(endpoint, credential=root, clock=SystemClock())
    with ThreadPoolExecutor(12) as pool:
        minted = list(pool.map(lambda number: service.create(SPEC, f"many/{number}"), range(60)))
        proven = list(pool.map(lambda one: service.prove(one.secret, one.key), minted))
    assert proven == [one.key.id for one in minted]
    assert {one.key.id for one in minted} <= {key.id for key in service.list().keys}
    for one in minted:
        service.revoke(one.key.id)
    service.close()


def test_lost_answers_over_a_socket_are_made_good(served: Any, connect: Callable[..., Any]) -> None:
    endpoint, root = served
    bearer = {"Authorization": f"Bearer {root}"}
    script = {"rules": [{"action": "drop_answer", "method": "POST", "path": "/v1/keys"}]}
    httpx.put(f"{endpoint}/_faults", json=script, headers=bearer).raise_for_status()
    service = connect(endpoint, credential=root)
    minted = service.create(SPEC, "lost/1")
    assert minted.secret is None
    assert [key.label for key in service.list().keys].count("lost/1") == 1
    service.close()


def test_the_client_says_who_it_is(connect: Callable[..., Any]) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"key_id": "key_1"})

    service = connect("https://keys.example.com/base/", wrap=lambda _: httpx.MockTransport(answer))
    assert service.own_key() == "key_1"
    assert str(seen[0].url) == "https://keys.example.com/base/v1/whoami"
    assert seen[0].headers["User-Agent"] == f"keyform/{__version__}"
    assert "Cookie" not in seen[0].headers


def test_a_wrong_credential_is_named(served: Any, connect: Callable[..., Any]) -> None:
    endpoint, _root = served
    with pytest.raises(Refused, match="401 invalid_api_key") as caught:
        connect(endpoint, credential="wrong").list()
    assert "credential" in caught.value.diagnostics[0].detail


def test_tls_to_a_port_that_speaks_plain_http(connect: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        service = connect(f"https://127.0.0.1:{plain.getsockname()[1]}")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(service.own_key)
            connection, _ = plain.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            with pytest.raises(Unreachable, match="does not speak TLS"):
                asked.result(10)


def test_nobody_listens(connect: Callable[..., Any]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="cannot connect to 127"):
            connect(f"http://127.0.0.1:{unused.getsockname()[1]}").own_key()


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    served: Any, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, root = served
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert connect(endpoint, credential=root).own_key() is None


def test_a_proxy_of_the_environment_is_used_for_others(
    connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        service = connect("https://keys.example.com")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(service.own_key)
            connection, _ = proxy.accept()
            with connection:
                assert connection.recv(1000).startswith(b"CONNECT keys.example.com:443 ")
            proxy.close()
            with pytest.raises(Unreachable):
                asked.result(10)


def test_the_skew_of_the_clocks_is_told_by_the_answers(connect: Callable[..., Any]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
        return httpx.Response(200, json={"key_id": "key_1"}, headers={"Date": date})

    service = connect(
        "https://keys.example.com", wrap=lambda _: httpx.MockTransport(answer), clock=SystemClock()
    )
    assert service.clock_skew() is None
    service.own_key()
    assert service.clock_skew().total_seconds() == pytest.approx(90, abs=5)
