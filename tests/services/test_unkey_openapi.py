"""Every request fits the OpenAPI document of Unkey, and every answer that it allows is understood."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyform.model import Credits, KeySpec, RateLimit, Refill, Secret
from keyform.services import open_service
from keyform.services.profiles import load_profile
from tests.services.conftest import ManualClock

DOCUMENT = Path(__file__).parent.parent / "reference" / "data" / "unkey-openapi.yaml"
API = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
SCHEMAS = API["components"]["schemas"]
META = {"requestId": "req_1"}


def validator(schema: dict[str, Any]) -> Any:
    return jsonschema.Draft202012Validator({**schema, "components": API["components"]})


def request_schema(path: str) -> dict[str, Any]:
    schema: dict[str, Any] = API["paths"][path]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    return schema


REQUESTS = {path: validator(request_schema(path)) for path in API["paths"]}


def answers(schema: Any) -> st.SearchStrategy[Any]:
    """Values that a schema of the document allows."""
    if "$ref" in schema:
        return answers(SCHEMAS[schema["$ref"].rpartition("/")[2]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = schema.get("type", "any")
    if isinstance(kinds, list):
        return st.one_of(answers({**schema, "type": kind}) for kind in kinds)
    if kinds == "object":
        properties = schema.get("properties", {})
        required = set(schema.get("required", ()))
        fixed = {name: answers(part) for name, part in properties.items() if name in required}
        free = {name: answers(part) for name, part in properties.items() if name not in required}
        made = st.fixed_dictionaries(fixed, optional=free)
        if properties or schema.get("additionalProperties") is not True:
            return made
        return st.dictionaries(st.text(max_size=9), JSON, max_size=4)
    if kinds == "array":
        return st.lists(answers(schema["items"]), max_size=4)
    if kinds == "string":
        if "pattern" in schema:
            text = st.from_regex(schema["pattern"].replace("$", r"\Z"))
        else:
            text = st.text(min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", 40), 40))
        return text.filter(
            lambda value: schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 999)
        )
    if kinds == "integer":
        # Most are moments, and none of a key's lies before 1970.
        return st.integers(schema.get("minimum", 0), schema.get("maximum", 2**60))
    return {"boolean": st.booleans(), "null": st.none(), "any": JSON}[kinds]


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
SCOPES = st.lists(st.from_regex(r"[a-zA-Z0-9_:\-.*]{1,40}", fullmatch=True), max_size=5, unique=True)
AMOUNTS = st.integers(1, 2**53 - 1)
REFILLS = st.builds(Refill, AMOUNTS, st.just("daily")) | st.builds(
    Refill, AMOUNTS, st.just("monthly"), st.integers(1, 31)
)
CREDITS = st.none() | st.builds(Credits, st.integers(0, 2**53 - 1), st.none() | REFILLS)
SPECS = st.builds(
    KeySpec,
    name=st.text(min_size=1, max_size=200),
    scopes=SCOPES.map(lambda scopes: tuple(sorted(scopes))),
    expires_at=st.none() | st.datetimes(datetime(2027, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)),
    rate_limit=st.none() | st.builds(RateLimit, st.integers(1, 10**6), st.integers(1, 10**6)),
    credits=CREDITS,
    metadata=st.dictionaries(st.text(min_size=1, max_size=40), st.text(max_size=100), max_size=5).map(
        lambda entries: tuple(sorted(entries.items()))
    ),
)
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def service_of(answer: Callable[[httpx.Request], httpx.Response]) -> Any:
    profile = load_profile("unkey", Path())
    assert profile is not None
    return open_service(
        "unkey",
        "unkey",
        profile=profile,
        endpoint=None,
        credential=Secret("unkey_root"),
        options={"api_id": "api_12345678", "prefix": "acme"},
        folder=Path(),
        clock=ManualClock(),
        wrap_transport=lambda _: httpx.MockTransport(answer),
    )


def checking(data: dict[str, Any], sent: list[str]) -> Any:
    """A service that holds each request against the document, and answers with ``data`` by path."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.method == "POST"
        assert request.headers["Authorization"] == "Bearer unkey_root"
        assert str(request.url) == "https://api.unkey.com" + request.url.path, "no query"
        REQUESTS[request.url.path].validate(json.loads(request.content))
        sent.append(request.url.path)
        body = data.get(request.url.path, {})
        paged = {"pagination": {"hasMore": False}} if isinstance(body, list) else {}
        return httpx.Response(200, json={"meta": META, "data": body, **paged})

    return service_of(answer)


KEY = {"keyId": "key_12345678", "start": "acme_ab", "createdAt": 1, "enabled": True}


@QUICK
@given(before=SPECS, after=SPECS)
def test_every_request_fits_the_document(before: KeySpec, after: KeySpec) -> None:
    sent: list[str] = []
    data = {
        "/v2/keys.createKey": {"keyId": KEY["keyId"], "key": "acme_secret"},
        "/v2/keys.rerollKey": {"keyId": KEY["keyId"], "key": "acme_other"},
        "/v2/keys.getKey": KEY,
        "/v2/keys.whoami": KEY,
        "/v2/apis.listKeys": [],
    }
    service = checking(data, sent)
    minted = service.create(before, "lineage/marker")
    for fields in ("name", "scopes", "expires_at", "rate_limit", "credits", "metadata"):
        service.update(replace(minted.key, spec=before), after, frozenset({fields}))
    service.update(replace(minted.key, spec=after), after, frozenset({"credits"}))
    service.update(minted.key, after, service.profile.mutable)
    service.prove(minted.secret, minted.key)
    service.list()
    service.reroll(minted.key.id, before, timedelta(days=365), "lineage/marker")
    service.revoke(minted.key.id)
    assert set(sent) == {
        "/v2/keys.createKey", "/v2/keys.rerollKey", "/v2/keys.getKey", "/v2/keys.updateKey",
        "/v2/keys.whoami", "/v2/apis.listKeys", "/v2/keys.deleteKey",
    }  # fmt: skip


def ids_differ(page: dict[str, Any]) -> bool:
    ids = [key["keyId"] for key in page["data"]]
    return len(ids) == len(set(ids))


@QUICK
@given(page=answers(SCHEMAS["V2ApisListKeysResponseBody"]).filter(ids_differ))
def test_every_listing_that_the_document_allows_is_understood(page: dict[str, Any]) -> None:
    page["pagination"]["hasMore"] = False
    validator(SCHEMAS["V2ApisListKeysResponseBody"]).validate(page)
    listing = service_of(lambda request: httpx.Response(200, json=page)).list()
    assert listing.complete, listing.problem
    assert {key.id for key in listing.keys} == {key["keyId"] for key in page["data"]}
    for raw in page["data"]:
        key = next(key for key in listing.keys if key.id == raw["keyId"])
        assert key.spec.name == raw.get("name", "")
        assert (key.status == "active") == raw["enabled"]
        told = raw.get("credits", {"remaining": None})
        assert (key.spec.credits and key.spec.credits.remaining) == told["remaining"]
        if key.spec.credits is not None and "refill" in told:
            assert key.spec.credits.refill == Refill(
                told["refill"]["amount"], told["refill"]["interval"], told["refill"].get("refillDay")
            )
        assert len(key.spec.scopes) == len(raw.get("permissions", [])) + len(raw.get("roles", []))


@QUICK
@given(
    made=answers(SCHEMAS["V2KeysCreateKeyResponseBody"]),
    key_id=st.from_regex(r"[!-~]{8,40}", fullmatch=True),
    key=st.text(min_size=1, max_size=40),
    shown=answers(SCHEMAS["V2KeysGetKeyResponseBody"]),
)
def test_every_answer_to_a_create_is_understood(
    made: dict[str, Any], key_id: str, key: str, shown: dict[str, Any]
) -> None:
    made["data"] |= {"keyId": key_id, "key": key}
    validator(SCHEMAS["V2KeysCreateKeyResponseBody"]).validate(made)
    validator(SCHEMAS["V2KeysGetKeyResponseBody"]).validate(shown)
    answers_by_path = {"/v2/keys.createKey": made, "/v2/keys.getKey": shown}
    service = service_of(lambda request: httpx.Response(200, json=answers_by_path[request.url.path]))
    minted = service.create(KeySpec(name="k"), "lineage/1")
    assert minted.secret.reveal() == made["data"]["key"]
    assert minted.key.spec.name == shown["data"].get("name", "")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_every_refusal_is_told_in_unkeys_words(status: int) -> None:
    error = {
        "title": "Title",
        "detail": "What went wrong.",
        "status": status,
        "type": "https://unkey.com/docs/e/code",
    }
    service = service_of(lambda request: httpx.Response(status, json={"meta": META, "error": error}))
    with pytest.raises(Exception, match=f'{status} https://unkey.com/docs/e/code: "What went wrong') as told:
        service.update(service_key(), KeySpec(name="k"), frozenset({"name"}))
    assert told.value.diagnostics[0].detail  # type: ignore[attr-defined]


def service_key() -> Any:
    from keyform.model import LiveKey

    return LiveKey("key_12345678", KeySpec(), created_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(0))
