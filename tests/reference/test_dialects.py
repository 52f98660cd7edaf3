"""All dialects side by side: each with keys of its own, none with a secret on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.reference import DIALECTS
from keyform.reference.app import ReferenceApp, create_app, root_token
from keyform.reference.dialects import BUILDERS
from keyform.reference.faults import FaultRule, Faults
from keyform.reference.server import serve

from .conftest import ROOT, Clock
from .vendors import credential

CREATES: dict[str, dict[str, Any]] = {
    "": {"kind": "secret", "environment": "live", "scopes": ["events:read"]},
    "revenium": {"kind": "write"},
    "revkeen": {"environment": "live", "scopes": ["customers:read"]},
    "millimetric": {"kind": "rk", "environment": "live", "project": "web"},
    "devtune": {"project": "web"},
}
USES = {
    "revenium": "/profitstream/v2/api/users/me",
    "revkeen": "/v2/customers",
    "millimetric": "/v1/stats",
    "climeter": "/v1/tools",
    "devtune": "/api/v2/projects/web/visibility",
}


class Everything:
    """One application with keyform's contract at `/` and every dialect under its name."""

    def __init__(self, data: Path, clock: Clock, faults: Faults | None = None, **options: Any) -> None:
        self.application: ReferenceApp = create_app(
            data, root_token=ROOT, clock=clock, faults=faults, services=DIALECTS, **options
        )
        transport = httpx.WSGITransport(self.application)
        self.http = httpx.Client(transport=transport, base_url="http://all")

    def call(self, name: str, method: str, path: str, body: object = None, key: str = ROOT) -> httpx.Response:
        prefix = f"/{name}" if name else ""
        return self.http.request(method, prefix + path, json=body, headers=credential(name, key))

    def mint(self, name: str) -> str:
        """A key that works at USES[name]."""
        if name == "unkey":
            made = self.call(name, "POST", "/v2/keys.createKey", {"apiId": "api_keyform"})
            return str(made.json()["data"]["key"])
        if name == "climeter":
            login = {"email": "keyform@example.com", "password": ROOT}
            token = self.call(name, "POST", "/v1/auth/login", login).json()["access_token"]
            body = {"name": "a", "scopes": ["tools:read"]}
            return str(self.call(name, "POST", "/v1/keys", body, token).json()["key"])
        if name in ("millimetric", "devtune"):
            self.call(name, "PUT", "/v1/projects/web", {"allowed_origins": []})
        answer = self.call(name, "POST", "/v1/keys", {"name": "a", **CREATES[name]})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["secret"])

    def works(self, name: str, key: str) -> bool:
        if name == "unkey":
            found = self.call(name, "POST", "/v2/keys.verifyKey", {"key": key}).json()
            return bool(found["data"]["valid"])
        if name == "":
            return self.call(name, "POST", "/v1/verify", {"key": key}).status_code == 200
        return self.call(name, "GET", USES[name], key=key).status_code == 200


@pytest.fixture
def open_all(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Everything]]:
    opened = []

    def open_one(**options: Any) -> Everything:
        opened.append(Everything(tmp_path / "data", clock, **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.application.close()


def test_every_dialect_that_is_named_can_be_built() -> None:
    assert set(DIALECTS) == set(BUILDERS)


def test_a_key_of_one_service_works_at_no_other(open_all: Callable[..., Everything]) -> None:
    everything = open_all()
    names = ("", *DIALECTS)
    keys = {name: everything.mint(name) for name in names}
    got = {(at, of): everything.works(at, keys[of]) for at in names for of in names}
    assert {pair for pair, works in got.items() if works} == {(name, name) for name in names}
    for name in CREATES:
        assert len(everything.call(name, "GET", "/v1/keys").json()["data"]) == 1, name
    projects = everything.call("", "GET", "/v1/projects").json()["data"]
    assert projects == []


@pytest.mark.parametrize("name", DIALECTS)
def test_no_secret_lies_in_the_data_folder(
    open_all: Callable[..., Everything], tmp_path: Path, name: str
) -> None:
    everything = open_all()
    secrets = [everything.mint(name) for _ in range(3)]
    assert all(everything.works(name, secret) for secret in secrets)
    everything.application.close()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert len(kept) > 10_000
    for secret in secrets:
        assert secret.encode() not in kept
        assert secret[-24:].encode() not in kept


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_serves_the_same_keys_at_its_own_path_and_at_the_root(
    open_all: Callable[..., Everything], name: str
) -> None:
    secret = open_all().mint(name)
    alone = open_all(service=name)
    assert alone.works(name, secret)
    answer = alone.http.get(USES.get(name, "/v1/whoami"), headers=credential(name, secret))
    assert answer.status_code == (404 if name == "unkey" else 200)


def test_an_unknown_service_is_named(tmp_path: Path) -> None:
    for options in ({"service": "acme"}, {"services": ("unkey", "acme")}):
        with pytest.raises(ValueError, match="'acme'; services: revenium, revkeen"):
            create_app(tmp_path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/revenium", "/reveniumx/v1/keys", "/acme/v1/keys", "/unkey/v1/keys"])
def test_a_path_that_is_no_service_leads_nowhere(open_all: Callable[..., Everything], path: str) -> None:
    headers = {"Authorization": f"Bearer {ROOT}", "x-api-key": ROOT}
    transport = open_all().http
    assert transport.get("http://all" + path, headers=headers).status_code == 404


@pytest.mark.parametrize("name", DIALECTS)
def test_an_error_has_the_form_of_its_own_service(open_all: Callable[..., Everything], name: str) -> None:
    everything = open_all()
    answer = everything.call(name, "GET", "/nowhere")
    forms = {
        "revkeen": lambda body: body["error"]["type"],
        "millimetric": lambda body: body["details"]["message"],
        "devtune": lambda body: body["status"] == 404,
        "unkey": lambda body: body["meta"]["requestId"] and body["error"]["title"] == "Not Found",
    }
    assert answer.status_code == 404
    assert forms.get(name, lambda body: body["error"]["code"] == "not_found")(answer.json())


def test_faults_strike_under_any_path_and_listings_can_be_made_endless(
    open_all: Callable[..., Everything],
) -> None:
    faults = Faults()
    everything = open_all(faults=faults)
    script = {"rules": [{"action": "status", "path": "^/devtune/", "status": 503}]}
    answer = everything.http.put("/_faults", json=script, headers=credential("", ROOT))
    assert answer.status_code == 204
    assert everything.call("devtune", "GET", "/v1/keys").status_code == 503
    assert everything.call("devtune", "GET", "/v1/keys").status_code == 200
    faults.install([FaultRule("repeat_cursor", path="listKeys", times=None)])
    everything.mint("unkey")
    asked = {"apiId": "api_keyform"}
    for _ in range(3):
        page = everything.call("unkey", "POST", "/v2/apis.listKeys", asked).json()
        assert (len(page["data"]), page["pagination"]["hasMore"]) == (1, True)
        asked["cursor"] = page["pagination"]["cursor"]


def test_the_kept_root_token_is_every_dialects_credential(tmp_path: Path, clock: Clock) -> None:
    application = create_app(tmp_path, clock=clock, services=DIALECTS)
    token = root_token(tmp_path)
    with httpx.Client(transport=httpx.WSGITransport(application), base_url="http://all") as http:
        for name in DIALECTS[:5]:
            if name != "climeter":
                assert http.get(f"/{name}/v1/keys", headers=credential(name, token)).status_code == 200
        body = {"email": "keyform@example.com", "password": token}
        assert http.post("/climeter/v1/auth/login", json=body).status_code == 200
        asked = http.post(
            "/unkey/v2/apis.getApi", json={"apiId": "api_keyform"}, headers=credential("unkey", token)
        )
        assert asked.status_code == 200
    application.close()


def test_the_server_serves_dialects(tmp_path: Path) -> None:
    class Served(Exception):
        pass

    def look(url: str) -> None:
        raise Served(url)

    with pytest.raises(ValueError, match="there is no service"):
        serve(tmp_path, on_ready=look, service="acme")
    with pytest.raises(Served):
        serve(tmp_path, on_ready=look, service="unkey", services=DIALECTS)


def test_bodies_are_read_as_strictly_everywhere(open_all: Callable[..., Everything]) -> None:
    everything = open_all()
    for name in ("revenium", "revkeen", "millimetric", "devtune"):
        for content in (b"{", b"[]", json.dumps({"name": "a", "colour": "red"}).encode()):
            answer = everything.http.post(f"/{name}/v1/keys", content=content, headers=credential(name, ROOT))
            assert answer.status_code == 422
