"""The service port over the contract: what is sent, what is understood, what is not believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from keyform.errors import AnswerLost, Refused, ServiceError, Unreachable
from keyform.model import KeySpec, LiveKey, RateLimit
from keyform.reference.faults import FaultRule

FULL = KeySpec(
    kind="secret",
    environment="test",
    name="Checkout \u202e<b>",
    description="for the checkout",
    scopes=("events:read", "events:write"),
    expires_at=datetime(2027, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC),
    rate_limit=RateLimit(100, 60),
    metadata=(("team", "payments"), ("tier", "1")),
)
KEY = {
    "id": "key_1", "kind": "secret", "environment": "live", "project": None, "name": "n", "description": "",
    "scopes": ["b", "a"], "allowed_origins": [], "expires_at": None, "metadata": {"keyform": "l/m", "a": "b"},
    "rate_limit": None, "status": "active", "start": "sk_live_abc", "created_at": "2026-01-01T00:00:00.000Z",
    "last_used_at": None, "revoked_at": None, "a_new_field": [1],
}  # fmt: skip


def paged(*pages: Any) -> Callable[[httpx.Request], httpx.Response]:
    """A service whose key listing has these pages, and no projects."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/projects":
            return httpx.Response(200, json={"data": [], "next_cursor": None})
        page = pages[int(request.url.params.get("cursor", "0"))]
        return page if isinstance(page, httpx.Response) else httpx.Response(200, json=page)

    return answer


def page(*keys: Any, following: Any = None) -> dict[str, Any]:
    return {"data": list(keys), "next_cursor": following}


def test_a_key_comes_back_as_it_was_asked_for(world: Any) -> None:
    minted = world.service.create(FULL, "lineage/marker")
    assert minted.key.spec == FULL
    assert minted.key.label == "lineage/marker"
    assert minted.key.created_at == world.clock.now()
    assert minted.secret.reveal().startswith(minted.key.hint)
    assert world.service.list().keys == (minted.key,)


def test_an_update_sends_the_named_fields_only_and_keeps_the_label(world: Any) -> None:
    key = world.service.create(FULL, "lineage/marker").key
    wanted = KeySpec(name="new", metadata=(("team", "growth"),), expires_at=None, rate_limit=None)
    for fields in ({"name"}, {"metadata"}, {"expires_at", "rate_limit"}):
        before = key.spec
        key = world.service.update(key, wanted, frozenset(fields))
        assert key.spec == replace(before, **{field: getattr(wanted, field) for field in fields})
        assert key.label == "lineage/marker"
        assert set(json.loads(world.record.requests[-1].content)) == fields


def test_a_key_that_is_not_ours_gets_no_label_by_an_update(world: Any) -> None:
    key = replace(world.service.create(FULL, "lineage/marker").key, label=None)
    assert world.service.update(key, replace(FULL, metadata=()), frozenset({"metadata"})).label is None


def test_a_label_is_put_on_an_adopted_key_by_an_update_of_its_metadata(world: Any) -> None:
    key = replace(world.service.create(FULL, "lineage/marker").key, label="other/owner")
    assert world.service.update(key, FULL, frozenset({"metadata"})).label == "other/owner"


def test_other_scopes_than_asked_for_are_seen(answering: Callable[..., Any]) -> None:
    service = answering(
        lambda request: httpx.Response(201, json={"key": {**KEY, "scopes": ["admin"]}, "secret": "s"})
    )
    assert service.create(FULL, "lineage/marker").key.spec.scopes == ("admin",)


@pytest.mark.parametrize("secret", [None, "", 7, {}])
def test_a_create_without_a_usable_secret_has_none(answering: Callable[..., Any], secret: Any) -> None:
    service = answering(lambda request: httpx.Response(201, json={"key": KEY, "secret": secret}))
    assert service.create(FULL, "lineage/marker").secret is None


@pytest.mark.parametrize("body", [[], {}, {"key": None}, {"key": {}, "secret": "s"}, "text", 7])
def test_a_create_whose_answer_makes_no_sense_is_in_doubt(answering: Callable[..., Any], body: Any) -> None:
    service = answering(lambda request: httpx.Response(201, json=body))
    with pytest.raises(AnswerLost, match="the answer holds"):
        service.create(FULL, "lineage/marker")


def test_a_create_whose_secret_holds_half_a_character_is_in_doubt(answering: Callable[..., Any]) -> None:
    body = json.dumps({"key": KEY, "secret": "sk_\ud800"}).encode()
    with pytest.raises(AnswerLost, match="secret that is no text"):
        answering(lambda request: httpx.Response(201, content=body)).create(FULL, "lineage/half")


def test_the_idempotency_key_belongs_to_the_label(world: Any) -> None:
    for label in ("lineage/one", "lineage/one", "lineage/two", "l" * 400 + "/é"):
        world.service.create(FULL, label)
    keys = [request.headers["Idempotency-Key"] for request in world.record.requests]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert len(world.live()) == 3


def test_a_public_key_is_proven_from_its_own_origin_or_its_projects(world: Any) -> None:
    world.service.set_origins("web", ("https://a.example", "https://b.example"))
    public = KeySpec(kind="public", environment="live", name="p", scopes=("events:write",))
    own = world.service.create(replace(public, allowed_origins=("https://own.example",)), "lineage/1")
    of_project = world.service.create(replace(public, project="web"), "lineage/2")
    for minted in (own, of_project):
        assert world.service.prove(minted.secret, minted.key) == minted.key.id
    sent = len(world.record.requests)
    world.service.prove(of_project.secret, of_project.key)
    assert world.record.lines()[sent:] == ["POST /v1/verify"], "the project's origins are known already"


def test_a_proof_asks_for_a_project_that_it_has_not_seen(world: Any, connect: Callable[..., Any]) -> None:
    world.service.set_origins("web", ("https://a.example",))
    public = KeySpec(kind="public", environment="live", project="web", name="p", scopes=("events:write",))
    minted = world.service.create(public, "lineage/1")
    another = connect("http://localhost:1", wrap=lambda _: world.record)
    assert another.prove(minted.secret, minted.key) == minted.key.id


def test_a_proof_carries_no_credential_and_costs_no_budget(make_world: Callable[..., Any]) -> None:
    world = make_world(limit=(60, 1))
    minted = world.service.create(FULL, "lineage/1")
    for _ in range(5):
        world.service.prove(minted.secret, minted.key)
    assert "Authorization" not in world.record.requests[-1].headers
    assert world.clock.monotonic() == 0


def test_a_proof_waits_for_the_limit_of_the_key_itself(world: Any) -> None:
    minted = world.service.create(replace(FULL, rate_limit=RateLimit(1, 60)), "lineage/1")
    for _ in range(3):
        assert world.service.prove(minted.secret, minted.key) == minted.key.id
    assert 120 <= world.clock.monotonic() <= 122


def test_a_proof_is_no_proof_unless_the_service_says_valid(answering: Callable[..., Any]) -> None:
    minted = answering(lambda request: httpx.Response(201, json={"key": KEY, "secret": "s"})).create(
        FULL, "l/m"
    )
    for body in ({}, {"valid": False}, {"valid": "yes"}, [], "valid"):
        service = answering(lambda request, body=body: httpx.Response(200, json=body))
        with pytest.raises(ServiceError, match="does not say that it works"):
            service.prove(minted.secret, minted.key)


def test_origins_that_the_service_changed_are_an_error(answering: Callable[..., Any]) -> None:
    service = answering(lambda request: httpx.Response(200, json={"id": "web", "allowed_origins": ["*"]}))
    with pytest.raises(ServiceError, match="does not have the origins"):
        service.set_origins("web", ("https://a.example",))


def test_a_revoke_that_did_not_end_the_key_is_an_error(answering: Callable[..., Any]) -> None:
    with pytest.raises(ServiceError, match="it is shown as active"):
        answering(lambda request: httpx.Response(200, json=KEY)).revoke("key_1")


def test_a_revoke_at_the_wrong_address_is_not_taken_for_done(answering: Callable[..., Any]) -> None:
    with pytest.raises(Refused, match="404"):
        answering(lambda request: httpx.Response(404, html="<h1>nginx</h1>")).revoke("key_1")


@pytest.mark.parametrize("key_id", ["a/b", "..%2f", "é", "a?b", "a#b", "../projects/web", " "])
def test_an_id_never_leaves_its_place_in_the_path(answering: Callable[..., Any], key_id: str) -> None:
    paths = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        return httpx.Response(200, json={**KEY, "status": "revoked"})

    answering(answer).revoke(key_id)
    assert paths[0].startswith(b"/v1/keys/")
    assert paths[0].count(b"/") == 3
    assert b"?" not in paths[0]


@pytest.mark.parametrize("key_id", ["", ".", ".."])
def test_an_id_that_is_a_step_in_a_path_is_refused(world: Any, key_id: str) -> None:
    with pytest.raises(ServiceError, match="is no id"):
        world.service.revoke(key_id)
    assert world.record.requests == []


# Listings


def test_a_long_listing_is_whole_and_in_order(world: Any) -> None:
    spec = KeySpec(kind="read", environment="live", name="r", scopes=("events:read",))
    made = [world.service.create(spec, f"lineage/{number}").key.id for number in range(1001)]
    listing = world.service.list()
    assert listing.complete
    assert [key.id for key in listing.keys] == made
    assert world.record.lines()[-3:] == ["GET /v1/keys", "GET /v1/keys", "GET /v1/projects"]


@pytest.mark.parametrize(
    "rule",
    [
        {"action": "status", "status": 503},
        {"action": "status", "status": 403},
        {"action": "drop_request"},
        {"action": "drop_answer"},
        {"action": "half_page"},
        {"action": "garbage"},
        {"action": "repeat_cursor"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/v1/keys", "/v1/projects"])
def test_a_listing_with_a_page_that_cannot_be_had_is_incomplete(
    world: Any, monkeypatch: pytest.MonkeyPatch, rule: dict[str, Any], path: str
) -> None:
    monkeypatch.setattr("keyform.services.paging.LARGEST_PAGE", 2)
    spec = KeySpec(kind="read", environment="live", name="r", scopes=("events:read",))
    for number in range(5):
        world.service.create(spec, f"lineage/{number}")
        world.service.set_origins(f"p{number}", ("https://a.example",))
    world.strike(FaultRule(path=path, after=1, times=None, **rule))
    listing = world.service.list()
    assert not listing.complete
    assert listing.problem.code == "incomplete-listing"
    assert "service 'sandbox': listing the" in listing.problem.summary
    assert "page" in listing.problem.summary
    assert listing.problem.detail
    assert len(listing.keys) == (5 if path == "/v1/projects" else 4 if "repeat" in rule["action"] else 2)
    world.faults.clear()
    assert world.service.list().complete


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_listing_that_is_refused_outright_raises(answering: Callable[..., Any], status: int) -> None:
    with pytest.raises(Refused):
        answering(lambda request: httpx.Response(status, json={})).list()


def test_a_listing_without_a_way_to_the_service_raises(answering: Callable[..., Any]) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(Unreachable):
        answering(fail).list()


@pytest.mark.parametrize(
    "first",
    [
        None, [], "x", 7, {}, {"data": []}, {"data": {}, "next_cursor": None}, page(following=7),
        page(following=""), page(following=["1"]), page(None), page([]), page({}),
        httpx.Response(200, html="<h1>Sign in</h1>"), httpx.Response(500, json={}),
        *(page({**KEY, **wrong}) for wrong in (
            {"id": None}, {"id": ""}, {"id": 7}, {"id": "a\x1b[31m"}, {"status": None}, {"status": "odd"},
            {"status": []}, {"kind": 7}, {"environment": []}, {"project": {}}, {"name": ["n"]},
            {"description": 1.5}, {"scopes": "events:read"}, {"scopes": [1]}, {"scopes": [["a"]]},
            {"scopes": {"a": 1}}, {"allowed_origins": [None]}, {"expires_at": "soon"}, {"expires_at": 7},
            {"expires_at": "2026-01-01T00:00:00"}, {"created_at": "9999-12-31T23:59:59-23:59"},
            {"created_at": "9999-12-31T23:59:59Z"}, {"expires_at": "9000-01-01T00:00:00Z"},
            {"last_used_at": "0001-01-01T00:00:00Z"}, {"expires_at": "1969-12-31T23:59:59Z"},
            {"metadata": []}, {"metadata": "x"}, {"metadata": {"a": 1}}, {"metadata": {"keyform": None}},
            {"rate_limit": 5}, {"rate_limit": {}}, {"rate_limit": {"limit": True, "per_seconds": 1}},
            {"start": 5}, {"last_used_at": False},
        )),
    ],
    ids=str,
)  # fmt: skip
def test_a_page_that_makes_no_sense_makes_the_listing_incomplete(
    answering: Callable[..., Any], first: Any
) -> None:
    listing = answering(paged(first)).list()
    assert not listing.complete
    assert listing.problem.summary.isprintable()


def test_what_is_missing_or_new_in_a_key_is_no_trouble(answering: Callable[..., Any]) -> None:
    bare = {"id": "key_2", "status": "revoked"}
    listing = answering(paged(page(KEY, bare))).list()
    assert listing.complete
    assert listing.keys == (
        LiveKey(
            "key_1",
            KeySpec(kind="secret", environment="live", name="n", scopes=("a", "b"), metadata=(("a", "b"),)),
            label="l/m",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            hint="sk_live_abc",
        ),
        LiveKey("key_2", KeySpec(), "revoked"),
    )


def test_half_a_character_does_not_get_in(answering: Callable[..., Any]) -> None:
    odd = {"name": "a\ud800", "metadata": {"\udfff": "\ud800"}, "scopes": ["\ud800", "✓"], "start": "\ud800"}
    body = json.dumps(page({**KEY, **odd, "description": "😀"})).encode()
    (key,) = answering(paged(httpx.Response(200, content=body))).list().keys
    assert (key.spec.name, key.hint, key.spec.description) == ("a\ufffd", "\ufffd", "😀")
    assert key.spec.metadata == (("\ufffd", "\ufffd"),)
    assert key.spec.scopes == ("✓", "\ufffd")


@pytest.mark.parametrize("second", [[KEY], [{**KEY, "id": "key_2"}, {**KEY, "id": "key_2"}]])
def test_a_listing_that_repeats_an_id_is_incomplete(answering: Callable[..., Any], second: Any) -> None:
    listing = answering(paged(page(KEY, following="1"), page(*second))).list()
    assert not listing.complete
    assert "page 2 repeats an id" in listing.problem.summary
    assert len(listing.keys) == 1


def test_a_listing_that_circles_is_incomplete(answering: Callable[..., Any]) -> None:
    listing = answering(paged(page(following="1"), page(KEY, following="2"), page(following="1"))).list()
    assert not listing.complete
    assert "points back" in listing.problem.summary
    assert len(listing.keys) == 1


def test_a_listing_that_never_ends_is_given_up(
    answering: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyform.services.paging.MOST_PAGES", 20)

    def answer(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params.get("cursor", "0"))
        return httpx.Response(200, json=page({**KEY, "id": f"key_{number}"}, following=str(number + 1)))

    listing = answering(answer).list()
    assert not listing.complete
    assert len(listing.keys) == 20


@pytest.mark.parametrize(("name", "most"), [("MOST_ENTRIES", 55), ("MOST_BYTES", 8_000)])
def test_a_listing_beyond_all_measure_is_given_up(
    answering: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    monkeypatch.setattr(f"keyform.services.paging.{name}", most)
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        number = len(asked)
        asked.append(number)
        keys = ({**KEY, "id": f"key_{number}_{n}"} for n in range(10))
        return httpx.Response(200, json=page(*keys, following=str(number + 1)))

    listing = answering(answer).list()
    assert not listing.complete
    assert "has not ended after" in listing.problem.summary
    assert len(asked) <= 6
    assert len(listing.keys) <= 50


def test_an_answer_that_repeats_the_credential_is_not_used(answering: Callable[..., Any]) -> None:
    credential = "canary-credential-of-the-contract"
    listing = answering(paged(page({**KEY, "name": credential})), credential=credential).list()
    assert not listing.complete
    assert listing.keys == ()
    assert "repeats keyform's own credential" in listing.problem.summary
    cursors = []

    def answer(request: httpx.Request) -> httpx.Response:
        cursors.append(request.url.params.get("cursor"))
        return httpx.Response(200, json=page(KEY, following=credential))

    assert not answering(answer, credential=credential).list().complete
    assert cursors == [None]
