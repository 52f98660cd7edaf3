"""What no vendor documents is never sent to a vendor: every profile, every mode, every kind of endpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.errors import ConfigError, KeyformError
from keyform.model import KeySpec, LiveKey, Secret
from keyform.profile import DOCUMENTED, Profile
from keyform.services import open_service
from keyform.services.profiles import known_types, load_profile
from tests.services.conftest import ManualClock

MODES = (None, "documented", "contract", "assisted")
DOMAINS = sorted(
    {domain for name in known_types() for domain in (load_profile(name, Path()) or Profile("", "")).domains}
)
SPEC = KeySpec(name="k", scopes=("tools:read", "customers:read"), kind="write", project="storefront")
EVERYTHING: dict[str, Any] = {
    "id": "key_1", "key_id": "key_1", "key": "text-of-a-key", "keyId": "key_1", "name": "k", "valid": True,
    "access_token": "token", "revoked": True, "created_at": "2026-01-01T00:00:00Z", "next_cursor": None,
    "data": [{"id": "key_1", "keyId": "key_1", "name": "k", "origin": "https://a.example"}],
}  # fmt: skip


class Network(httpx.BaseTransport):
    """Answers anything, and remembers what went where."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append((request.url.host.lower().rstrip("."), request.method, request.url.path))
        return httpx.Response(200, json=EVERYTHING)


def endpoints() -> Iterator[str | None]:
    yield None
    yield "https://keys.internal.example/base"
    for domain in DOMAINS:
        yield f"https://{domain}"
        yield f"https://API.{domain.upper()}:8443/v1"
        yield f"https://keys.eu.{domain}./"


def vendor_of(host: str) -> str | None:
    return next((domain for domain in DOMAINS if host == domain or host.endswith("." + domain)), None)


def documented(profile: Profile) -> list[re.Pattern[str]]:
    """The paths of the calls that a vendor documents, its login among them."""
    trees = [how for name, how in profile.rest.get("operations", {}).items()
             if profile.operations.get(name) == DOCUMENTED]  # fmt: skip
    trees += [tree[part] for tree in trees for part in ("add", "remove") if part in tree]
    trees += [tree for tree in (profile.rest.get("auth", {}).get("login"),) if tree]
    paths = [tree["path"] for tree in trees if "path" in tree]
    return [re.compile(re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(path))) for path in paths]


def exercise(service: Any) -> None:
    """Every method of the port."""
    key = LiveKey("key_1", SPEC, label="l/m")
    for act in (
        lambda: service.list(),
        lambda: service.create(SPEC, "l/m"),
        lambda: service.update(key, KeySpec(name="other"), frozenset({"name"})),
        lambda: service.revoke("key_1"),
        lambda: service.prove(Secret("text-of-a-key"), key),
        lambda: service.set_origins("storefront", ("https://b.example",)),
        lambda: service.own_key(),
    ):
        with suppress(KeyformError):
            act()
    service.close()


@pytest.mark.parametrize("name", known_types())
def test_what_no_vendor_documents_is_sent_to_no_vendor(name: str, tmp_path: Path, figures: Any) -> None:
    profile = load_profile(name, tmp_path)
    assert profile is not None
    allowed = documented(profile)
    opened = refused = requests = 0
    for mode, endpoint in product(MODES, endpoints()):
        network = Network()
        try:
            service = open_service(
                "it",
                name,
                profile=profile,
                endpoint=endpoint,
                credential=None if name == "embedded" and endpoint is None else Secret("credential"),
                options={"api_id": "api_1234"} if name == "unkey" else {},
                folder=tmp_path,
                clock=ManualClock(),
                mode=mode,
                wrap_transport=lambda _, network=network: network,
            )
        except ConfigError:
            refused += 1
            assert network.sent == []
            continue
        opened += 1
        exercise(service)
        requests += len(network.sent)
        for host, method, path in network.sent:
            vendor = vendor_of(host)
            if vendor is None:
                continue
            assert vendor in profile.domains, f"{mode} {endpoint}: {method} {host}{path} is another vendor's"
            at = path.removeprefix("/v1") if path.startswith("/v1/v") else path
            assert any(pattern.fullmatch(at) for pattern in allowed), (
                f"{mode} {endpoint}: {method} {host}{path}"
            )
        if mode == "contract":
            assert not any(vendor_of(host) for host, _, _ in network.sent)
    assert opened
    assert refused
    figures(f"honesty of {name}", f"{opened} ways opened, {refused} refused, {requests} requests looked at")


def test_an_endpoint_that_sends_elsewhere_is_not_followed(tmp_path: Path) -> None:
    hosts: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(307, headers={"Location": "https://api.millimetric.ai/v1/keys"})

    profile = load_profile("millimetric", tmp_path)
    assert profile is not None
    service = open_service(
        "it", "millimetric", profile=profile, endpoint="https://broker.example", credential=Secret("c"),
        options={}, folder=tmp_path, clock=ManualClock(),
        wrap_transport=lambda _: httpx.MockTransport(answer),
    )  # fmt: skip
    exercise(service)
    assert set(hosts) == {"broker.example"}
