"""Two key services that nobody here wrote, driven by a profile each and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.conformance.service import ServiceConformance
from keyform.errors import Refused
from keyform.model import KeySpec, Secret
from keyform.services import open_service
from keyform.services.profiles import load_profile
from tests.servers.hub import HUB_TOKEN, jupyterhub
from tests.servers.moto import moto

pytestmark = pytest.mark.integration

PROFILES = Path(__file__).parent / "profiles"


class Impatient:
    """The real time, without waiting between attempts."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        return


class Unreliable(httpx.BaseTransport):
    """Loses the answer to the next create, or every listing, on demand."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner
        self.lose_create = False
        self.break_listing = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        if self.lose_create and request.method == "POST":
            self.lose_create = False
            response.close()
            raise httpx.ReadError("lost")
        if self.break_listing and request.method == "GET":
            response.close()
            return httpx.Response(500)
        return response

    def close(self) -> None:
        self._inner.close()


def opened(profile_name: str, url: str, credential: str, **options: Any) -> tuple[Any, Unreliable]:
    profile = load_profile(f"./{profile_name}.yaml", PROFILES)
    assert profile is not None
    transports: list[Unreliable] = []

    def wrap(inner: httpx.BaseTransport) -> httpx.BaseTransport:
        transports.append(Unreliable(inner))
        return transports[-1]

    service = open_service(
        "real",
        f"./{profile_name}.yaml",
        profile=profile,
        endpoint=url,
        credential=Secret(credential),
        options=options,
        folder=PROFILES,
        clock=Impatient(),
        wrap_transport=wrap,
    )
    return service, transports[0]


class RealConformance(ServiceConformance):
    @pytest.fixture
    def client(self) -> Iterator[tuple[Any, Unreliable]]:
        raise NotImplementedError

    @pytest.fixture
    def service(self, client: tuple[Any, Unreliable]) -> Any:
        return client[0]

    @pytest.fixture
    def lose_next_answer(self, client: tuple[Any, Unreliable]) -> Callable[[], None]:
        return lambda: setattr(client[1], "lose_create", True)

    @pytest.fixture
    def break_listing(self, client: tuple[Any, Unreliable]) -> Callable[[], None]:
        return lambda: setattr(client[1], "break_listing", True)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("hub")
    with jupyterhub(folder) as url:
        yield url


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("moto")
    with moto(folder) as url:
        yield url


@pytest.fixture
def alice(hub: str) -> Iterator[tuple[Any, Unreliable]]:
    service, transport = opened("jupyterhub", hub, HUB_TOKEN, user="alice")
    yield service, transport
    transport.break_listing = False
    for key in service.list().keys:
        service.revoke(key.id)
    service.close()


@pytest.fixture
def gateway(aws: str) -> Iterator[tuple[Any, Unreliable]]:
    httpx.post(f"{aws}/moto-api/reset", trust_env=False)
    service, transport = opened("aws-api-gateway", aws, "AKIAEXAMPLE")
    yield service, transport
    service.close()


class TestJupyterHub(RealConformance):
    @pytest.fixture
    def client(self, alice: tuple[Any, Unreliable]) -> tuple[Any, Unreliable]:
        return alice

    @pytest.fixture
    def spec(self) -> Callable[[str], KeySpec]:
        return lambda name: KeySpec(name=name, scopes=("read:users!user=alice", "tokens!user=alice"))

    @pytest.fixture
    def changed(self) -> Callable[[KeySpec], KeySpec]:
        return lambda spec: spec


class TestApiGateway(RealConformance):
    @pytest.fixture
    def client(self, gateway: tuple[Any, Unreliable]) -> tuple[Any, Unreliable]:
        return gateway

    @pytest.fixture
    def spec(self) -> Callable[[str], KeySpec]:
        return lambda name: KeySpec(name=name, description="of a test", metadata=(("team", "payments"),))

    @pytest.fixture
    def changed(self) -> Callable[[KeySpec], KeySpec]:
        return lambda spec: replace(spec, name="Ключ ✓", description="")


def test_a_token_of_the_hub_expires_and_vanishes(alice: tuple[Any, Unreliable]) -> None:
    service, _ = alice
    now = datetime.now(UTC)
    spec = KeySpec(name="short", scopes=("read:users!user=alice",))
    lasting = service.create(replace(spec, expires_at=now + timedelta(hours=1)), "lineage/lasting").key
    assert abs(lasting.spec.expires_at - now - timedelta(hours=1)) < timedelta(seconds=10)
    short = service.create(replace(spec, expires_at=now + timedelta(seconds=2)), "lineage/short")
    assert service.prove(short.secret, short.key) == short.key.id
    deadline = time.monotonic() + 30
    while {key.id for key in service.list().keys} != {lasting.id}:
        assert time.monotonic() < deadline, "the expired token is still listed"
        time.sleep(0.2)
    with pytest.raises(Refused):
        service.prove(short.secret, short.key)
    service.revoke(short.key.id)


def test_the_hub_refuses_scopes_that_the_user_does_not_hold(alice: tuple[Any, Unreliable]) -> None:
    with pytest.raises(Refused, match="Not assigning requested scopes"):
        alice[0].create(KeySpec(name="too much", scopes=("admin:users",)), "lineage/1")


def test_a_user_that_may_not_be_managed_is_an_error_and_nothing_is_taken_for_gone(hub: str) -> None:
    service, _ = opened("jupyterhub", hub, HUB_TOKEN, user="bob")
    with pytest.raises(Refused, match="404"):
        service.list()
    with pytest.raises(Refused, match="404"):
        service.revoke("a1")
    service.close()


def test_a_key_of_the_gateway_that_is_switched_off_is_disabled_and_not_gone(
    gateway: tuple[Any, Unreliable], aws: str
) -> None:
    service, _ = gateway
    key = service.create(KeySpec(name="switched off"), "lineage/1").key
    authorization = (
        "AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/apigateway/aws4_request, SignedHeaders=host"
    )
    patch = {"patchOperations": [{"op": "replace", "path": "/enabled", "value": "false"}]}
    headers = {"Authorization": f"{authorization}, Signature=0"}
    httpx.patch(f"{aws}/apikeys/{key.id}", json=patch, headers=headers, trust_env=False).raise_for_status()
    assert [found.status for found in service.list().keys] == ["disabled"]
