"""Every built-in profile against the reference service that speaks as its vendor does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from keyform.conformance.service import ServiceConformance
from keyform.errors import ConfigError, Refused, ServiceError
from keyform.model import Credits, KeySpec, LiveProject, RateLimit, Refill, Secret
from keyform.reference.account import Options
from keyform.reference.app import create_app
from keyform.services import open_service
from keyform.services.embedded import InProcess
from keyform.services.profiles import load_profile
from tests.services.conftest import ROOT, ManualClock, Recorder

OPTIONS: dict[str, dict[str, Any]] = {"unkey": {"api_id": "api_keyform"}}


class Striking(Recorder):
    """A recorder that loses the answer to the next create, or every listing, on demand."""

    lose_create = False
    break_listing = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if self.break_listing and (request.method == "GET" or path.endswith("listKeys")):
            return httpx.Response(500, json={})
        response = super().handle_request(request)
        if self.lose_create and request.method == "POST" and not path.endswith("login"):
            self.lose_create = False
            raise httpx.ReadError("lost")
        return response


def opened(
    vendor: str,
    data: Path,
    clock: ManualClock,
    *,
    mode: str | None = None,
    reference: str | None = "",
    **more: Any,
) -> tuple[Any, Striking]:
    app = create_app(
        data,
        root_token=ROOT,
        clock=lambda: clock.now().timestamp(),
        service=vendor if reference == "" else reference,
        options=Options(**more.pop("account", {})),
    )
    record = Striking(InProcess(app))
    profile = load_profile(vendor, data)
    assert profile is not None
    credential = more.pop("credential", ROOT)
    service = open_service(
        "vendor",
        vendor,
        profile=profile,
        endpoint="http://localhost:1",
        credential=None if credential is None else Secret(credential),
        options={**OPTIONS.get(vendor, {}), **more},
        folder=data,
        clock=clock,
        mode=mode,
        wrap_transport=lambda _: record,
    )
    return service, record


class VendorConformance(ServiceConformance):
    vendor = ""
    base = KeySpec()
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def client(self, tmp_path: Path, clock: ManualClock) -> Iterator[tuple[Any, Striking]]:
        service, record = opened(self.vendor, tmp_path / "data", clock, **self.options)
        self.prepare(service)
        yield service, record
        service.close()

    def prepare(self, service: Any) -> None:
        """What has to be there before the first key."""

    @pytest.fixture
    def service(self, client: tuple[Any, Striking]) -> Any:
        return client[0]

    @pytest.fixture
    def spec(self) -> Callable[[str], KeySpec]:
        return lambda name: replace(self.base, name=name)

    @pytest.fixture
    def changed(self, clock: ManualClock) -> Callable[[KeySpec], KeySpec]:
        return lambda spec: spec

    @pytest.fixture
    def lose_next_answer(self, client: tuple[Any, Striking]) -> Callable[[], None]:
        return lambda: setattr(client[1], "lose_create", True)

    @pytest.fixture
    def break_listing(self, client: tuple[Any, Striking]) -> Callable[[], None]:
        return lambda: setattr(client[1], "break_listing", True)


class TestRevenium(VendorConformance):
    vendor = "revenium"
    base = KeySpec(kind="write")

    @pytest.fixture
    def changed(self) -> Callable[[KeySpec], KeySpec]:
        return lambda spec: replace(spec, name="Finance dashboard ✓")


class TestRevKeen(VendorConformance):
    vendor = "revkeen"
    base = KeySpec(environment="sandbox", scopes=("customers:read", "payments:read"))

    def project_origins(self) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        return "storefront", ("https://a.example",), ("https://a.example", "https://b.example")


class TestRevKeenFlat(TestRevKeen):
    options: ClassVar[dict[str, Any]] = {"account": {"revkeen_errors": "flat"}, "auth": "x-revkeen-key"}


class TestMillimetric(VendorConformance):
    vendor = "millimetric"
    base = KeySpec(kind="pk", environment="live", project="web")

    def prepare(self, service: Any) -> None:
        service.set_origins("web", ("https://yoursite.com",))

    def test_a_secret_is_proven_until_its_key_is_revoked(
        self, service: Any, spec: Callable[[str], KeySpec], clock: ManualClock
    ) -> None:
        minted = service.create(spec("proven"), "lineage/proven")
        assert service.prove(minted.secret, minted.key) == minted.key.id
        service.revoke(minted.key.id)
        clock.sleep(service.profile.revocation_lag.total_seconds() + 1)
        with pytest.raises(Refused):
            service.prove(minted.secret, minted.key)


class TestCLIMeter(VendorConformance):
    vendor = "climeter"
    base = KeySpec(scopes=("tools:read",))
    options: ClassVar[dict[str, Any]] = {
        "credential": None,
        "email": "keyform@example.com",
        "password": Secret(ROOT),
    }

    def test_a_missing_page_makes_the_listing_incomplete(self, service: Any) -> None:  # type: ignore[override]
        """It has no listing: there is nothing to see, which the profile says."""
        assert service.list().keys == ()
        assert not service.profile.lists


class TestDevTune(VendorConformance):
    vendor = "devtune"
    base = KeySpec(kind="key", project="acme", scopes=("visibility.read",))

    def prepare(self, service: Any) -> None:
        service.set_origins("acme", ())

    def test_the_origins_of_a_project_become_exactly_these(self, service: Any) -> None:  # type: ignore[override]
        """Its projects carry no origins; the calls of the contract list and make projects."""
        service.set_origins("acme", ())
        assert service.list().projects == (LiveProject("acme", ()),)

    @pytest.fixture
    def changed(self) -> Callable[[KeySpec], KeySpec]:
        return lambda spec: replace(spec, scopes=("actions.write", "visibility.read"))


class TestUnkey(VendorConformance):
    vendor = "unkey"
    base = KeySpec(scopes=("documents.read", "documents.write"), metadata=(("team", "payments"),))

    @pytest.fixture
    def changed(self, clock: ManualClock) -> Callable[[KeySpec], KeySpec]:
        return lambda spec: replace(
            spec,
            name="renamed",
            scopes=("documents.read",),
            metadata=(("tier", "1"),),
            expires_at=clock.now() + timedelta(days=9),
            rate_limit=RateLimit(100, 60),
            credits=Credits(10, Refill(5, "monthly", 31)),
        )


@pytest.mark.parametrize("vendor", ["climeter", "revkeen", "revenium"])
def test_a_broker_that_speaks_the_contract_needs_no_vendor(
    vendor: str, tmp_path: Path, clock: ManualClock
) -> None:
    service, record = opened(vendor, tmp_path, clock, mode="contract", reference=None)
    assert set(service.profile.operations.values()) == {"contract"}
    assert service.profile.lists
    assert service.profile.marks
    key = service.create(
        KeySpec(kind="secret", environment="live", name="k", scopes=("events:read",)), "l/m"
    ).key
    assert [(found.id, found.label) for found in service.list().keys] == [(key.id, "l/m")]
    assert record.requests[0].headers["Authorization"] == f"Bearer {ROOT}"
    service.revoke(key.id)
    assert [found.status for found in service.list().keys] == ["revoked"]


@pytest.mark.parametrize("vendor", ["revenium", "revkeen", "millimetric", "devtune"])
@pytest.mark.parametrize("host", ["base", "sub"])
def test_what_a_vendor_does_not_document_is_never_sent_to_it(vendor: str, host: str, tmp_path: Path) -> None:
    profile = load_profile(vendor, tmp_path)
    assert profile is not None
    domain = profile.domains[0]
    for endpoint, mode in (
        (f"https://{domain}", None),
        (f"https://keys.{domain.upper()}/v1", None),
        (f"https://{domain}", "contract"),
        (None, None),
    ):
        with pytest.raises(ConfigError) as refused:
            open_service(
                "s",
                vendor,
                profile=profile,
                endpoint=endpoint,
                credential=Secret("x"),
                options={},
                folder=tmp_path,
                clock=ManualClock(),
                mode=mode,
            )
        assert "assisted" in refused.value.diagnostics[0].detail


def test_a_documented_service_goes_to_its_vendor_unless_told_otherwise(tmp_path: Path) -> None:
    for vendor, host, options in (
        ("climeter", "api.climeter.ai", {}), ("unkey", "api.unkey.com", {"api_id": "api_1234"}),
    ):  # fmt: skip
        hosts: list[str] = []

        def answer(request: httpx.Request, hosts: list[str] = hosts) -> httpx.Response:
            hosts.append(request.url.host)
            return httpx.Response(401, json={})

        profile = load_profile(vendor, tmp_path)
        assert profile is not None
        service = open_service(
            "s",
            vendor,
            profile=profile,
            endpoint=None,
            credential=Secret("x"),
            options=options,
            folder=tmp_path,
            clock=ManualClock(),
            wrap_transport=lambda _, a=answer: httpx.MockTransport(a),
        )
        with pytest.raises(Refused):
            service.revoke("key_1")
        assert hosts == [host]


@pytest.mark.parametrize(
    ("auth", "header"),
    [(None, "authorization"), ("bearer", "authorization"), ("x-revkeen-key", "x-revkeen-key")],
)
def test_revkeen_takes_either_header(
    auth: str | None, header: str, tmp_path: Path, clock: ManualClock
) -> None:
    service, record = opened("revkeen", tmp_path, clock, **({"auth": auth} if auth else {}))
    service.list()
    assert ROOT in record.requests[0].headers[header]
    assert [name for name in record.requests[0].headers if ROOT in record.requests[0].headers[name]] == [
        header
    ]


def test_an_option_that_is_wrong_is_told(tmp_path: Path, clock: ManualClock) -> None:
    for vendor, options, said in (
        ("revkeen", {"auth": "basic"}, "`auth` of service `vendor` cannot be `basic`"),
        ("revkeen", {"atuh": "bearer"}, "unknown field `atuh` in service `vendor`"),
        ("unkey", {"api_id": ""}, "service `vendor` has no `api_id`"),
        ("unkey", {"api_id": 7}, "`api_id` of service `vendor` must be text, not a number"),
    ):
        with pytest.raises(ConfigError, match=said):
            opened(vendor, tmp_path / vendor, clock, **options)


# CLIMeter's login


LOGIN = {"credential": None, "email": "keyform@example.com", "password": Secret(ROOT)}


def test_a_token_that_runs_out_is_fetched_again(tmp_path: Path, clock: ManualClock) -> None:
    service, record = opened("climeter", tmp_path, clock, **LOGIN)
    spec = KeySpec(name="k", scopes=("events:write",))
    for number in range(3):
        service.create(spec, f"lineage/{number}")
    assert record.lines().count("POST /v1/auth/login") == 1
    clock.sleep(3600)
    service.create(spec, "lineage/late")
    assert record.lines().count("POST /v1/auth/login") == 2


def test_a_token_that_is_refused_is_fetched_again_and_nothing_is_sent_twice(
    tmp_path: Path, clock: ManualClock
) -> None:
    service, record = opened("climeter", tmp_path, clock, **{**LOGIN, "credential": "expired.jwt.token"})
    minted = service.create(KeySpec(name="k", scopes=("events:write",)), "lineage/1")
    assert minted.secret is not None
    assert list(zip(record.lines(), record.statuses, strict=True)) == [
        ("POST /v1/keys", 401), ("POST /v1/auth/login", 200), ("POST /v1/keys", 201),
    ]  # fmt: skip


def test_a_login_that_fails_says_so_and_shows_no_password(tmp_path: Path, clock: ManualClock) -> None:
    service, _ = opened("climeter", tmp_path, clock, **{**LOGIN, "password": Secret("CANARY-password")})
    with pytest.raises(Refused, match="logging in failed: 401") as refused:
        service.create(KeySpec(name="k", scopes=("events:write",)), "lineage/1")
    assert "CANARY" not in repr(refused.value.diagnostics) + repr(vars(service))
    assert "name or the password" in refused.value.diagnostics[0].detail


def test_a_login_without_all_it_needs_is_refused_at_once(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(ConfigError, match="neither a credential nor"):
        opened("climeter", tmp_path, clock, credential=None, email="a@example.com")


def test_what_climeter_answers_beside_a_revocation_is_an_error(clock: ManualClock, tmp_path: Path) -> None:
    profile = load_profile("climeter", tmp_path)
    assert profile is not None
    service = open_service(
        "s",
        "climeter",
        profile=profile,
        endpoint=None,
        credential=Secret("x"),
        options={},
        folder=tmp_path,
        clock=clock,
        wrap_transport=lambda _: httpx.MockTransport(lambda r: httpx.Response(200, json={"revoked": False})),
    )
    with pytest.raises(ServiceError, match="does not say that it was"):
        service.revoke("key_1")


# RevKeen's origins


def test_the_origins_of_the_storefront_change_one_by_one_new_ones_first(
    tmp_path: Path, clock: ManualClock
) -> None:
    service, record = opened("revkeen", tmp_path, clock)
    service.set_origins("storefront", ("https://a.example", "https://b.example"))
    sent = len(record.requests)
    service.set_origins("storefront", ("https://b.example", "https://c.example"))
    assert [line.partition(" ")[0] for line in record.lines()[sent:]] == ["GET", "POST", "DELETE"]
    assert service.list().projects == (LiveProject("storefront", ("https://b.example", "https://c.example")),)


def test_origins_are_left_alone_when_the_present_ones_cannot_be_read(
    tmp_path: Path, clock: ManualClock
) -> None:
    service, record = opened("revkeen", tmp_path, clock)
    record.break_listing = True
    with pytest.raises(ServiceError, match="cannot all be read"):
        service.set_origins("storefront", ("https://a.example",))
    assert record.requests == []


def test_another_project_than_the_one_there_is_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    service, _ = opened("revkeen", tmp_path, clock)
    with pytest.raises(Refused, match="one list of origins") as refused:
        service.set_origins("web", ("https://a.example",))
    assert "id: storefront" in refused.value.diagnostics[0].detail


# Unkey


def test_a_role_is_a_scope_with_a_prefix(tmp_path: Path, clock: ManualClock) -> None:
    service, record = opened("unkey", tmp_path, clock)
    root = {"Authorization": f"Bearer {ROOT}"}
    raw = httpx.Client(transport=record, base_url="http://localhost:1", headers=root)
    raw.post("/v2/permissions.createRole", json={"name": "reader"}).raise_for_status()
    spec = KeySpec(name="k", scopes=("documents.read", "role:reader"))
    key = service.create(spec, "lineage/1").key
    assert key.spec.scopes == spec.scopes
    changed = service.update(key, replace(spec, scopes=("documents.write",)), frozenset({"scopes"}))
    assert changed.spec.scopes == ("documents.write",)
    assert json.loads(record.requests[-2].content)["roles"] == []


def test_a_404_that_hides_a_missing_permission_is_not_taken_for_a_key_that_is_gone(
    tmp_path: Path, clock: ManualClock
) -> None:
    service, record = opened("unkey", tmp_path, clock)
    key = service.create(KeySpec(name="k"), "lineage/1").key

    class Masking(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith(("deleteKey", "getKey")):
                return httpx.Response(404, json={"meta": {"requestId": "r"}, "error": {"title": "Not Found"}})
            return record.handle_request(request)

    profile = load_profile("unkey", tmp_path)
    assert profile is not None
    masked = open_service(
        "s",
        "unkey",
        profile=profile,
        endpoint="http://localhost:1",
        credential=Secret(ROOT),
        options=OPTIONS["unkey"],
        folder=tmp_path,
        clock=clock,
        wrap_transport=lambda _: Masking(),
    )
    with pytest.raises(Refused, match="404"):
        masked.revoke(key.id)
    masked.revoke("key_that_never_was")
    assert [found.id for found in service.list().keys] == [key.id]
