"""Every rule of the contract, with the code that refuses what breaks it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from .conftest import Service, body, refusal

INVALID = (422, "invalid_request")
PUBLIC = {"kind": "public", "scopes": ["events:write"]}
PROJECT = "https://shop.example"


@pytest.fixture
def stocked(service: Service) -> Service:
    """A service with one project that has an origin, and one that has none."""
    assert service.http.put("/v1/projects/web", json={"allowed_origins": [PROJECT]}).status_code == 200
    assert service.http.put("/v1/projects/bare", json={"allowed_origins": []}).status_code == 200
    return service


@pytest.mark.parametrize(
    ("fields", "expected", "field"),
    [
        ({"kind": "robot"}, INVALID, "kind"),
        ({"kind": 5}, INVALID, "kind"),
        ({"environment": "staging"}, INVALID, "environment"),
        ({"name": ""}, INVALID, "name"),
        ({"name": "x" * 201}, INVALID, "name"),
        ({"name": None}, INVALID, "name"),
        ({"name": "\ud800"}, INVALID, "name"),
        ({"description": "x" * 1001}, INVALID, "description"),
        ({"colour": "red"}, INVALID, "colour"),
        ({"scopes": []}, INVALID, "scopes"),
        ({"scopes": "events:read"}, INVALID, "scopes"),
        ({"scopes": [1]}, INVALID, "scopes"),
        ({"scopes": ["events:fly"]}, (422, "unknown_scope"), "scopes"),
        ({"scopes": ["keys:manage"]}, (422, "scope_not_allowed_for_kind"), "scopes"),
        ({"kind": "public", "scopes": ["events:read"]}, (422, "scope_not_allowed_for_kind"), "scopes"),
        ({"kind": "read", "scopes": ["projects:write"]}, (422, "scope_not_allowed_for_kind"), "scopes"),
        ({"project": "nowhere"}, (422, "unknown_project"), "project"),
        ({"project": 7}, INVALID, "project"),
        ({"kind": "account", "project": "web"}, INVALID, "project"),
        ({"allowed_origins": [PROJECT]}, (422, "origins_not_allowed_for_kind"), "allowed_origins"),
        ({**PUBLIC, "allowed_origins": []}, (422, "origins_required"), "allowed_origins"),
        ({**PUBLIC, "project": "bare"}, (422, "origins_required"), "allowed_origins"),
        ({**PUBLIC, "allowed_origins": ["https://a.example"] * 101}, INVALID, "allowed_origins"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, (422, "expiry_in_past"), "expires_at"),
        ({"expires_at": "2030-03-17T17:46:40.000Z"}, (422, "expiry_in_past"), "expires_at"),
        ({"expires_at": "tomorrow"}, INVALID, "expires_at"),
        ({"expires_at": "2099-02-30T00:00:00Z"}, INVALID, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-23:00"}, INVALID, "expires_at"),
        ({"expires_at": 4_000_000_000}, INVALID, "expires_at"),
        ({"metadata": {"a": 1}}, INVALID, "metadata"),
        ({"metadata": {"": "x"}}, INVALID, "metadata"),
        ({"metadata": {"k" * 41: "x"}}, INVALID, "metadata"),
        ({"metadata": {"k": "v" * 501}}, INVALID, "metadata"),
        ({"metadata": {f"k{n}": "v" for n in range(51)}}, INVALID, "metadata"),
        ({"metadata": ["a"]}, INVALID, "metadata"),
        ({"rate_limit": {"limit": 5}}, INVALID, "rate_limit"),
        ({"rate_limit": {"limit": 0, "per_seconds": 60}}, INVALID, "rate_limit"),
        ({"rate_limit": {"limit": True, "per_seconds": 60}}, INVALID, "rate_limit"),
        ({"rate_limit": {"limit": 1.5, "per_seconds": 60}}, INVALID, "rate_limit"),
    ],
)
def test_a_create_that_breaks_a_rule_is_refused(
    stocked: Service, fields: dict[str, Any], expected: tuple[int, str], field: str
) -> None:
    # json.dumps, since httpx cannot encode half of a surrogate pair.
    answer = stocked.http.post("/v1/keys", content=json.dumps(body(**fields)))
    assert refusal(answer) == expected
    assert answer.json()["error"]["details"]["field"] == field
    assert stocked.http.get("/v1/keys").json()["data"] == []


@pytest.mark.parametrize("missing", ["kind", "environment", "name", "scopes"])
def test_a_required_field_that_is_missing_is_named(service: Service, missing: str) -> None:
    fields = body()
    del fields[missing]
    answer = service.http.post("/v1/keys", json=fields)
    assert refusal(answer) == INVALID
    assert answer.json()["error"]["details"]["field"] == missing


@pytest.mark.parametrize(
    "origin",
    [
        "https://shop.example/",
        "https://shop.example/path",
        "https://*.shop.example",
        "https://",
        "*",
        "null",
        "shop.example",
        "ftp://shop.example",
        "http://shop.example",
        "http://localhost.evil.example",
        "https://user@shop.example",
        "https://shop.example?x",
        "https://shop.example#x",
        "https://Shop.example",
        "https://shop.example:443",
        "http://localhost:80",
        "https://shop.example:0",
        "https://shop.example:65536",
        "https://shop.example:",
        "https://shop.example\n",
        "https://-shop.example",
        "https://" + "a." * 127 + "example",
    ],
)
def test_what_is_not_an_exact_origin_is_refused(service: Service, origin: str) -> None:
    assert refusal(service.create(**PUBLIC, allowed_origins=[origin])) == (422, "invalid_origin")
    answer = service.http.put("/v1/projects/web", json={"allowed_origins": [origin]})
    assert refusal(answer) == (422, "invalid_origin")


@pytest.mark.parametrize(
    "origin",
    [
        "https://shop.example",
        "https://shop.example:8443",
        "http://localhost:3000",
        "http://127.0.0.1",
        "https://x",
    ],
)
def test_an_exact_origin_is_kept_and_lets_through_itself_alone(service: Service, origin: str) -> None:
    key, secret = service.minted(**PUBLIC, allowed_origins=[origin])
    assert key["allowed_origins"] == [origin]
    assert service.verify(secret, origin=origin).status_code == 200
    assert refusal(service.verify(secret, origin=origin + "x")) == (403, "origin_not_allowed")


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", ""),
        (b"{", ""),
        (b"[]", ""),
        (b'"text"', ""),
        (b"\xff\xfe", ""),
        (b'{"name": NaN}', ""),
        (b'{"name": "a", "name": "b"}', ""),
        (b"[" * 60_000, ""),
        (b'{"name": ' + b"9" * 5000 + b"}", ""),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(service: Service, content: bytes, field: str) -> None:
    answer = service.http.post("/v1/keys", content=content)
    assert refusal(answer) == INVALID
    assert answer.json()["error"]["details"]["field"] == field


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/", (404, "not_found")),
        ("GET", "/v1", (404, "not_found")),
        ("GET", "/v2/keys", (404, "not_found")),
        ("GET", "/v1/keys/key_unknown", (404, "not_found")),
        ("PATCH", "/v1/keys/key_unknown", (404, "not_found")),
        ("DELETE", "/v1/keys/key_unknown", (404, "not_found")),
        ("GET", "/v1/projects/unknown", (404, "not_found")),
        ("PUT", "/_faults", (404, "not_found")),
        ("DELETE", "/v1/keys", (405, "method_not_allowed")),
        ("POST", "/v1/whoami", (405, "method_not_allowed")),
        ("GET", "/v1/verify", (405, "method_not_allowed")),
        ("BREW", "/v1/keys", (405, "method_not_allowed")),
        ("GET", "/v1/keys?limit=0", INVALID),
        ("GET", "/v1/keys?limit=1001", INVALID),
        ("GET", "/v1/keys?limit=ten", INVALID),
        ("GET", "/v1/keys?limit=1&limit=2", INVALID),
        ("GET", "/v1/keys?cursor=nonsense", INVALID),
        ("GET", "/v1/keys?cursor=", INVALID),
        ("GET", "/v1/keys?colour=red", INVALID),
        ("GET", "/v1/projects?project=web", INVALID),
        ("PUT", "/v1/projects/-web", INVALID),
        ("PUT", "/v1/projects/we%20b", INVALID),
    ],
)
def test_a_request_that_leads_nowhere_is_refused(
    service: Service, method: str, path: str, expected: tuple[int, str]
) -> None:
    assert refusal(service.http.request(method, path, content=b"{}")) == expected


def test_a_body_may_have_64_kib_and_not_a_byte_more(service: Service) -> None:
    empty = len(json.dumps(body(description="")))
    fits = json.dumps(body(description="x" * (65_536 - empty)))
    assert (
        refusal(service.http.post("/v1/keys", content=fits)) == INVALID
    )  # read, and its text found too long
    assert refusal(service.http.post("/v1/keys", content=fits + " ")) == (413, "body_too_large")


@pytest.mark.parametrize("field", ["kind", "environment", "project"])
def test_what_a_key_is_cannot_be_changed(service: Service, field: str) -> None:
    key, _ = service.minted()
    answer = service.http.patch(f"/v1/keys/{key['id']}", json={field: key[field]})
    assert refusal(answer) == (422, "immutable_field")
    assert answer.json()["error"]["details"]["field"] == field


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": ""}, INVALID),
        ({"status": "active"}, INVALID),
        ({"scopes": ["keys:manage"]}, (422, "scope_not_allowed_for_kind")),
        ({"scopes": ["events:fly"]}, (422, "unknown_scope")),
        ({"allowed_origins": ["https://shop.example"]}, (422, "origins_not_allowed_for_kind")),
        ({"expires_at": "2001-01-01T00:00:00Z"}, (422, "expiry_in_past")),
    ],
)
def test_a_change_that_breaks_a_rule_changes_nothing(
    service: Service, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    key, _ = service.minted()
    assert (
        refusal(service.http.patch(f"/v1/keys/{key['id']}", json={"description": "new", **changes}))
        == expected
    )
    assert service.http.get(f"/v1/keys/{key['id']}").json() == key


def test_a_public_key_cannot_lose_its_last_origin(service: Service) -> None:
    key, _ = service.minted(**PUBLIC, allowed_origins=["https://shop.example"])
    answer = service.http.patch(f"/v1/keys/{key['id']}", json={"allowed_origins": []})
    assert refusal(answer) == (422, "origins_required")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic cm9vdA==",
        "Bearer root_wrong",
        "Bearer sk_live_aaaaaaaa_" + "b" * 43,
    ],
)
@pytest.mark.parametrize("path", ["/v1/whoami", "/v1/keys", "/v1/projects/web"])
def test_management_needs_a_credential(service: Service, path: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = service.client(None).get(path, headers=headers)
    assert refusal(answer) == (401, "invalid_api_key")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "fields", [{}, {"kind": "account", "scopes": ["events:read"]}], ids=["another kind", "without the scope"]
)
def test_management_needs_an_account_key_with_the_scope(service: Service, fields: dict[str, Any]) -> None:
    _, secret = service.minted(**fields)
    assert refusal(service.client(secret).get("/v1/whoami")) == (403, "insufficient_scope")


def test_a_management_key_grants_no_more_than_it_holds(service: Service) -> None:
    key, secret = service.minted(kind="account", scopes=["events:read", "keys:manage"])
    wide, _ = service.minted(scopes=["events:read", "events:write"])
    client = service.client(secret)

    def lacking(answer: httpx.Response, scope: str) -> None:
        assert refusal(answer) == (403, "insufficient_scope")
        assert answer.json()["error"]["details"] == {"scope": scope}

    mine, wider = body(), body(kind="account", scopes=["keys:manage", "projects:write"])
    assert client.post("/v1/keys", json=mine).status_code == 201
    lacking(client.post("/v1/keys", json=wider), "projects:write")
    itself = f"/v1/keys/{key['id']}"
    lacking(client.patch(itself, json={"scopes": ["events:read", "events:write"]}), "events:write")
    lacking(client.put("/v1/projects/web", json={"allowed_origins": []}), "projects:write")
    assert service.http.get(itself).json()["scopes"] == ["events:read", "keys:manage"]
    assert service.http.get("/v1/projects").json()["data"] == []
    assert len(service.http.get("/v1/keys").json()["data"]) == 3
    # What a key has already may stay, and go.
    other = f"/v1/keys/{wide['id']}"
    assert client.patch(other, json={"scopes": ["events:write", "events:read"]}).status_code == 200
    assert client.patch(other, json={"name": "b", "scopes": ["events:write"]}).status_code == 200
    assert client.delete(other).status_code == 200


def test_a_management_key_changes_projects_with_the_scope_for_it(service: Service) -> None:
    _, secret = service.minted(kind="account", scopes=["keys:manage", "projects:write"])
    answer = service.client(secret).put("/v1/projects/web", json={"allowed_origins": ["https://a.example"]})
    assert answer.status_code == 200
