"""The life of keys and projects through the contract."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .conftest import Clock, Service, body, refusal

KEY_TEXT = r"{prefix}_{environment}_[a-z0-9]{{8}}_[A-Za-z0-9_-]{{43}}"
HOUR = 3600.0


@pytest.mark.parametrize("environment", ["live", "test"])
@pytest.mark.parametrize(
    ("kind", "prefix", "scopes"),
    [
        ("public", "pk", ["events:write"]),
        ("secret", "sk", ["events:read", "events:write", "projects:read", "projects:write", "reports:read"]),
        ("read", "rk", ["events:read", "projects:read", "reports:read"]),
        ("account", "ak", ["events:read", "keys:manage"]),
    ],
)
def test_each_kind_is_minted_in_its_own_format(
    service: Service, kind: str, prefix: str, scopes: list[str], environment: str
) -> None:
    origins = ["https://shop.example"] if kind == "public" else []
    key, secret = service.minted(
        kind=kind, environment=environment, scopes=scopes[::-1], allowed_origins=origins
    )
    assert re.fullmatch(KEY_TEXT.format(prefix=prefix, environment=environment), secret)
    assert secret.startswith(key["start"] + "_")
    assert key["scopes"] == scopes
    answer = service.verify(secret, scope=scopes[0], origin="https://shop.example", environment=environment)
    assert answer.json() == {
        "valid": True,
        "key_id": key["id"],
        "kind": kind,
        "environment": environment,
        "project": None,
        "scopes": scopes,
    }


def test_a_key_comes_back_as_it_was_asked_for(service: Service) -> None:
    service.http.put("/v1/projects/web", json={"allowed_origins": []})
    asked = {
        "kind": "public",
        "environment": "test",
        "project": "web",
        "name": "Schlüssel \u0000 \u202e 🔑",
        "description": "zwei\nZeilen",
        "scopes": ["events:write"],
        "allowed_origins": ["https://b.example", "https://a.example", "https://a.example"],
        "expires_at": "2031-01-01T02:00:00.1239+02:00",
        "metadata": {"owner": "web-team", "marker": ""},
        "rate_limit": {"limit": 5, "per_seconds": 60},
    }
    key, _ = service.minted(**asked)
    assert key == asked | {
        "id": key["id"],
        "allowed_origins": ["https://a.example", "https://b.example"],
        "expires_at": "2031-01-01T00:00:00.123Z",
        "status": "active",
        "start": key["start"],
        "created_at": "2030-03-17T17:46:40.000Z",
        "last_used_at": None,
        "revoked_at": None,
    }
    assert service.http.get(f"/v1/keys/{key['id']}").json() == key
    assert service.http.get("/v1/keys").json() == {"data": [key], "next_cursor": None}


def test_the_limits_themselves_are_allowed(service: Service) -> None:
    key, _ = service.minted(
        name="é" * 200, description="x" * 1000, metadata={f"{n:040}": "v" * 500 for n in range(50)}
    )
    assert len(key["metadata"]) == 50


def test_a_change_replaces_the_named_fields_and_no_others(service: Service) -> None:
    key, secret = service.minted(metadata={"a": "1", "b": "2"}, expires_at="2031-01-01T00:00:00Z")
    changes = {"name": "New", "scopes": ["reports:read"], "metadata": {"c": "3"}, "expires_at": None}
    changed = service.http.patch(f"/v1/keys/{key['id']}", json=changes).json()
    assert changed == key | changes
    assert service.http.patch(f"/v1/keys/{key['id']}", json={}).json() == changed
    assert refusal(service.verify(secret, scope="events:read")) == (403, "insufficient_scope")
    assert service.verify(secret, scope="reports:read").status_code == 200


def test_a_revoked_key_is_refused_and_stays_listed(service: Service, clock: Clock) -> None:
    key, secret = service.minted()
    revoked = service.http.delete(f"/v1/keys/{key['id']}")
    assert revoked.status_code == 200
    assert revoked.json() == key | {"status": "revoked", "revoked_at": "2030-03-17T17:46:40.000Z"}
    clock.move(60)
    assert service.http.delete(f"/v1/keys/{key['id']}").json() == revoked.json()
    assert service.http.get("/v1/keys").json()["data"] == [revoked.json()]
    assert refusal(service.verify(secret)) == (401, "invalid_api_key")
    assert refusal(service.http.patch(f"/v1/keys/{key['id']}", json={"name": "x"})) == (409, "key_revoked")


def test_an_expired_key_is_refused_until_it_gets_a_new_term(service: Service, clock: Clock) -> None:
    key, secret = service.minted(expires_at="2030-03-17T18:46:40.000Z")
    clock.move(HOUR - 0.001)
    assert service.verify(secret).status_code == 200
    clock.move(0.001)
    assert refusal(service.verify(secret)) == (401, "expired")
    assert service.http.get(f"/v1/keys/{key['id']}").json()["status"] == "expired"
    service.http.patch(f"/v1/keys/{key['id']}", json={"expires_at": None})
    assert service.verify(secret).status_code == 200


@pytest.mark.parametrize(
    "damage",
    [
        lambda secret: "",
        lambda secret: secret[:-1],
        lambda secret: secret[:-1] + ("A" if secret[-1] != "A" else "B"),
        lambda secret: secret.replace("sk_live", "sk_test"),
        lambda secret: secret.replace("sk_live", "ak_live"),
        lambda secret: secret + "\n",
        lambda secret: "é" * 200,
    ],
)
def test_a_damaged_key_is_refused(service: Service, damage: Any) -> None:
    _, secret = service.minted()
    assert refusal(service.verify(damage(secret))) == (401, "invalid_api_key")


def test_a_key_reaches_its_own_environment_project_and_scopes(service: Service) -> None:
    service.http.put("/v1/projects/web", json={"allowed_origins": []})
    _, bound = service.minted(project="web")
    _, free = service.minted()
    assert service.verify(bound, project="web", environment="live", scope="events:read").status_code == 200
    assert service.verify(free, project="web").status_code == 200
    for asked in ({"project": "other"}, {"environment": "test"}, {"scope": "events:write"}, {"scope": "?"}):
        assert refusal(service.verify(bound, **asked)) == (403, "insufficient_scope")


def test_a_public_key_answers_to_its_own_origins_or_else_to_its_projects(service: Service) -> None:
    service.http.put("/v1/projects/web", json={"allowed_origins": ["https://project.example"]})
    fields = {"kind": "public", "scopes": ["events:write"], "project": "web"}
    _, inherits = service.minted(**fields)
    _, own = service.minted(**fields, allowed_origins=["https://own.example"])
    assert service.verify(inherits, origin="https://project.example").status_code == 200
    assert service.verify(own, origin="https://own.example").status_code == 200
    assert refusal(service.verify(own, origin="https://project.example")) == (403, "origin_not_allowed")
    assert refusal(service.verify(own)) == (403, "origin_not_allowed")
    headers = {"Origin": "https://project.example"}
    asked = service.client(None).post("/v1/verify", json={"key": inherits}, headers=headers)
    assert asked.status_code == 200
    service.http.put("/v1/projects/web", json={"allowed_origins": ["https://new.example"]})
    assert refusal(service.verify(inherits, origin="https://project.example")) == (403, "origin_not_allowed")
    assert service.verify(inherits, origin="https://new.example").status_code == 200


def test_last_used_is_the_last_time_the_key_was_let_through(service: Service, clock: Clock) -> None:
    key, secret = service.minted()
    clock.move(10)
    service.verify(secret, scope="events:write")
    assert service.http.get(f"/v1/keys/{key['id']}").json()["last_used_at"] is None
    for moment in ("2030-03-17T17:46:50.000Z", "2030-03-17T17:46:51.000Z"):
        service.verify(secret)
        assert service.http.get(f"/v1/keys/{key['id']}").json()["last_used_at"] == moment
        clock.move(1)


def test_an_account_key_manages_until_it_is_revoked_or_expires(service: Service, clock: Clock) -> None:
    fields = {"kind": "account", "scopes": ["keys:manage"], "expires_at": "2030-03-17T18:46:40.000Z"}
    key, secret = service.minted(**fields)
    other, other_secret = service.minted(**fields)
    client = service.client(secret)
    assert client.get("/v1/whoami").json() == {"key_id": key["id"], "now": "2030-03-17T17:46:40.000Z"}
    assert service.http.get("/v1/whoami").json()["key_id"] is None
    assert client.delete(f"/v1/keys/{other['id']}").status_code == 200
    assert refusal(service.client(other_secret).get("/v1/keys")) == (401, "invalid_api_key")
    clock.move(HOUR)
    assert refusal(client.get("/v1/keys")) == (401, "invalid_api_key")


def test_a_replayed_create_mints_nothing_and_shows_no_secret(service: Service, clock: Clock) -> None:
    fields = {"expires_at": "2030-03-17T18:46:40.000Z", "scopes": ["events:read", "events:write"]}
    first = service.create("marker-1", **fields)
    assert first.status_code == 201
    assert "Idempotency-Replayed" not in first.headers
    clock.move(2 * HOUR)  # the expiry is in the past by now, and the replay is answered all the same
    again = service.create("marker-1", **fields)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.json()["secret"] is None
    assert again.json()["key"] == first.json()["key"] | {"status": "expired"}
    assert len(service.http.get("/v1/keys").json()["data"]) == 1


def test_one_idempotency_key_serves_one_body(service: Service) -> None:
    service.create("marker-1")
    assert refusal(service.create("marker-1", name="Another")) == (409, "idempotency_conflict")
    assert service.create("marker-2").status_code == 201


def test_a_refused_create_leaves_its_idempotency_key_free(service: Service) -> None:
    assert refusal(service.create("marker-1", project="web")) == (422, "unknown_project")
    service.http.put("/v1/projects/web", json={"allowed_origins": []})
    assert service.create("marker-1", project="web").status_code == 201


def test_an_idempotency_key_is_kept_for_24_hours(service: Service, clock: Clock) -> None:
    service.create("marker-1")
    clock.move(24 * HOUR - 1)
    assert service.create("marker-1").status_code == 200
    clock.move(1)
    assert service.create("marker-1").status_code == 201


@pytest.mark.parametrize("value", ["", "x" * 201, "\t", "a\x7f"])
def test_an_idempotency_key_is_short_and_printable(service: Service, value: str) -> None:
    answer = service.http.post("/v1/keys", json=body(), headers={"Idempotency-Key": value})
    assert refusal(answer) == (422, "invalid_request")
    assert answer.json()["error"]["details"]["field"] == "Idempotency-Key"


def test_pages_are_stable_while_keys_are_created_and_revoked(service: Service) -> None:
    before = [service.minted(name=f"key {n}")[0]["id"] for n in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = service.http.get("/v1/keys", params=parameters).json()
        seen += [key["id"] for key in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        if len(seen) <= 6:
            before.append(service.minted()[0]["id"])
        service.http.delete(f"/v1/keys/{before[0]}")
    assert seen == before
    assert len(seen) == 9


@pytest.mark.parametrize(("limit", "pages"), [(1, 4), (2, 2), (3, 2), (4, 1), (1000, 1)])
def test_a_full_last_page_ends_the_list(service: Service, limit: int, pages: int) -> None:
    for n in range(4):
        service.http.put(f"/v1/projects/p{n}", json={"allowed_origins": []})
    parameters = {"limit": str(limit)}
    seen, count = [], 0
    while True:
        page = service.http.get("/v1/projects", params=parameters).json()
        seen += [project["id"] for project in page["data"]]
        count += 1
        if page["next_cursor"] is None:
            break
        parameters["cursor"] = page["next_cursor"]
    assert (seen, count) == ([f"p{n}" for n in range(4)], pages)


def test_keys_can_be_listed_by_project(service: Service) -> None:
    for project in ("a", "b"):
        service.http.put(f"/v1/projects/{project}", json={"allowed_origins": []})
        for _ in range(3):
            service.minted(project=project)
    first = service.http.get("/v1/keys?project=b&limit=2").json()
    rest = service.http.get(f"/v1/keys?project=b&limit=2&cursor={first['next_cursor']}").json()
    assert [key["project"] for key in first["data"] + rest["data"]] == ["b"] * 3
    assert rest["next_cursor"] is None
    assert service.http.get("/v1/keys?project=nowhere").json() == {"data": [], "next_cursor": None}


def test_a_project_is_created_and_then_replaced_in_place(service: Service, clock: Clock) -> None:
    created = service.http.put(
        "/v1/projects/web", json={"allowed_origins": ["https://b.example", "https://a.example"]}
    )
    moment = "2030-03-17T17:46:40.000Z"
    assert created.json() == {
        "id": "web",
        "allowed_origins": ["https://a.example", "https://b.example"],
        "created_at": moment,
        "updated_at": moment,
    }
    clock.move(1)
    changed = service.http.put("/v1/projects/web", json={"allowed_origins": []}).json()
    assert changed == created.json() | {"allowed_origins": [], "updated_at": "2030-03-17T17:46:41.000Z"}
    assert service.http.get("/v1/projects/web").json() == changed
    assert service.http.get("/v1/projects").json() == {"data": [changed], "next_cursor": None}


def test_no_answer_may_be_cached(service: Service) -> None:
    assert service.create().headers["Cache-Control"] == "no-store"
