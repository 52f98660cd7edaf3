"""Unkey's rules, and every request and answer of these tests held against Unkey's own OpenAPI document.

data/unkey-openapi.yaml is an excerpt (keys, apis, permissions) of the document that Unkey publishes for its
API v2 at https://api.unkey.com. It contradicts itself in one place, see BASE_ERROR.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml

import keyform.reference.dialects
from keyform.reference.limiter import RateLimit

from .conftest import ROOT, Clock
from .vendors import Vendor

DOCUMENT = yaml.load(
    (Path(__file__).parent / "data" / "unkey-openapi.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader
)
# BadRequestErrorDetails is a BaseError (which forbids further members) and must have `errors`, so that no 400
# fits. Here, as it is clearly meant, a BaseError may have further members.
BASE_ERROR = DOCUMENT["components"]["schemas"]["BaseError"]
assert BASE_ERROR.pop("additionalProperties") is False
NOW = 1_900_000_000_000
MINUTE, DAY = 60_000, 24 * 3600_000
API = "api_keyform"


@cache
def validator(reference: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({"$ref": reference, "components": DOCUMENT["components"]})


class Unkey:
    """A caller with one root key; its good requests and all its answers are checked on the way."""

    def __init__(self, vendor: Vendor, root: str = ROOT) -> None:
        self.vendor = vendor
        self.root = root

    def send(self, operation: str, fits: bool = True, **body: Any) -> httpx.Response:
        described = DOCUMENT["paths"][f"/v2/{operation}"]["post"]
        schema = described["requestBody"]["content"]["application/json"]["schema"]
        assert validator(schema["$ref"]).is_valid(body) == fits
        answer = self.vendor.call("POST", f"/v2/{operation}", body, key=self.root)
        content = described["responses"][str(answer.status_code)]["content"]
        document = content[answer.headers["content-type"]]["schema"]
        validator(document["$ref"]).validate(answer.json())
        if answer.status_code >= 400:
            assert answer.json()["error"]["status"] == answer.status_code
        return answer

    def data(self, operation: str, **body: Any) -> Any:
        answer = self.send(operation, **body)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def refused(self, operation: str, **body: Any) -> int:
        answer = self.send(operation, **body)
        assert answer.status_code >= 400
        return answer.status_code

    def create(self, **fields: Any) -> tuple[str, str]:
        made = self.data("keys.createKey", apiId=API, **fields)
        return made["keyId"], made["key"]

    def shown(self, key_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.data("keys.getKey", keyId=key_id)
        return found

    def verdict(self, key: str, **asked: Any) -> str:
        found = self.data("keys.verifyKey", key=key, **asked)
        assert found["valid"] == (found["code"] == "VALID")
        code: str = found["code"]
        return code


@pytest.fixture
def unkey(vendor: Callable[..., Vendor]) -> Unkey:
    return Unkey(vendor("unkey"))


def test_the_request_schemas_are_those_of_the_document() -> None:
    def plain(node: Any, names: bool = False) -> Any:
        if isinstance(node, list):
            return [plain(entry) for entry in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return plain(DOCUMENT["components"]["schemas"][node["$ref"].rpartition("/")[2]])
        return {
            name: plain(value, name == "properties")
            for name, value in node.items()
            if names or name not in ("description", "format")
        }

    folder = Path(keyform.reference.dialects.__file__).parent
    used = json.loads((folder / "unkey_requests.json").read_text(encoding="utf-8"))
    assert len(used) == 14
    for operation, schema in used.items():
        body = DOCUMENT["paths"][f"/v2/{operation}"]["post"]["requestBody"]
        assert schema == plain(body["content"]["application/json"]["schema"]), operation


def test_a_key_is_created_with_everything_and_shown_without_its_secret(unkey: Unkey) -> None:
    unkey.data("permissions.createRole", name="reader", permissions=["docs.read"])
    limit = {"name": "requests", "limit": 5, "duration": 60_000, "autoApply": True}
    key_id, key = unkey.create(
        prefix="acme_1",
        byteLength=32,
        name="Checkout",
        externalId="team-1",
        meta={"keyform": "label", "n": 1, "nested": {"a": [1]}},
        roles=["reader"],
        permissions=["b.write", "a.read", "b.write"],
        expires=NOW + DAY,
        credits={"remaining": 10, "refill": {"interval": "daily", "amount": 10}},
        ratelimits=[limit],
        enabled=False,
    )
    assert re.fullmatch(r"acme_1_[a-z2-7]{52}", key)
    shown = unkey.shown(key_id)
    limits = shown.pop("ratelimits")
    assert [{name: value for name, value in found.items() if name != "id"} for found in limits] == [limit]
    assert shown.pop("identity")["externalId"] == "team-1"
    assert shown == {
        "keyId": key_id,
        "start": key[:11],
        "enabled": False,
        "name": "Checkout",
        "meta": {"keyform": "label", "n": 1, "nested": {"a": [1]}},
        "createdAt": NOW,
        "expires": NOW + DAY,
        "permissions": ["a.read", "b.write"],
        "roles": ["reader"],
        "credits": {"remaining": 10, "refill": {"interval": "daily", "amount": 10}},
    }
    assert unkey.data("keys.whoami", key=key)["keyId"] == key_id
    assert key not in json.dumps(unkey.send("apis.listKeys", apiId=API, decrypt=True).json())
    kept = b"".join(path.read_bytes() for path in unkey.vendor.data.rglob("*") if path.is_file())
    assert key[:11].encode() in kept
    assert key.removeprefix("acme_1_").encode() not in kept


def test_names_are_not_unique(unkey: Unkey) -> None:
    ids = {unkey.create(name="twice")[0] for _ in range(2)}
    assert {key["keyId"] for key in unkey.data("apis.listKeys", apiId=API)} == ids


@pytest.mark.parametrize(
    ("operation", "body", "location"),
    [
        ("keys.createKey", {}, "body"),
        ("keys.createKey", {"apiId": API, "prefix": "x" * 17}, "body.prefix"),
        ("keys.createKey", {"apiId": API, "prefix": "a-b"}, "body.prefix"),
        ("keys.createKey", {"apiId": API, "byteLength": 8}, "body.byteLength"),
        ("keys.createKey", {"apiId": API, "colour": "red"}, "body"),
        ("keys.createKey", {"apiId": API, "expires": "soon"}, "body.expires"),
        ("keys.createKey", {"apiId": API, "permissions": ["a b"]}, "body.permissions.0"),
        ("keys.createKey", {"apiId": API, "meta": {str(n): n for n in range(101)}}, "body.meta"),
        ("keys.updateKey", {"keyId": "key_1", "roles": None}, "body.roles"),
        ("keys.rerollKey", {"keyId": "key_1"}, "body"),
        ("keys.rerollKey", {"keyId": "key_1", "expiration": -1}, "body.expiration"),
        ("apis.listKeys", {"apiId": API, "limit": 101}, "body.limit"),
        ("apis.listKeys", {"apiId": API, "limit": 0}, "body.limit"),
    ],
)
def test_a_request_outside_its_schema_is_refused_where_it_breaks(
    unkey: Unkey, operation: str, body: dict[str, Any], location: str
) -> None:
    answer = unkey.send(operation, fits=False, **body)
    assert answer.status_code == 400
    assert [problem["location"] for problem in answer.json()["error"]["errors"]] == [location]


def test_numbers_are_read_as_json_means_them_and_texts_must_be_texts(unkey: Unkey) -> None:
    assert len(unkey.create(byteLength=20.0)[1]) == 32
    for operation, body in (
        ("keys.verifyKey", {"key": "\ud800"}),
        ("permissions.createRole", {"name": "\ud800"}),
    ):
        headers = {"Authorization": f"Bearer {ROOT}"}
        transport = httpx.WSGITransport(unkey.vendor.application)
        with httpx.Client(transport=transport, base_url="http://unkey", headers=headers) as http:
            assert http.post(f"/v2/{operation}", content=json.dumps(body)).status_code == 400


def test_keys_are_never_recoverable(unkey: Unkey) -> None:
    assert unkey.refused("keys.createKey", apiId=API, recoverable=True) == 400


def test_a_list_comes_in_pages(unkey: Unkey) -> None:
    ids = [unkey.create(name=f"key {n}", **({"externalId": "u"} if n % 2 else {}))[0] for n in range(5)]
    seen, asked = [], {"apiId": API, "limit": 2}
    for expected in (True, True, False):
        page = unkey.send("apis.listKeys", **asked).json()
        seen += [key["keyId"] for key in page["data"]]
        assert page["pagination"]["hasMore"] == expected
        assert ("cursor" in page["pagination"]) == expected
        asked["cursor"] = page["pagination"].get("cursor")
        unkey.send("keys.deleteKey", keyId=ids[0])
        unkey.send("keys.createKey", apiId=unkey.data("apis.createApi", name="another")["apiId"])
    assert seen == ids
    mine = unkey.data("apis.listKeys", apiId=API, externalId="u")
    assert [key["keyId"] for key in mine] == [ids[1], ids[3]]
    assert unkey.refused("apis.listKeys", apiId=API, cursor="nonsense") == 400
    assert unkey.refused("apis.listKeys", apiId="api_unknown") == 404


def test_an_update_replaces_permissions_and_roles_and_leaves_the_rest(unkey: Unkey, clock: Clock) -> None:
    for role in ("reader", "writer"):
        unkey.data("permissions.createRole", name=role)
    key_id, key = unkey.create(name="a", meta={"x": 1}, permissions=["a", "b"], roles=["reader"])
    before = unkey.shown(key_id)
    clock.move(1)
    assert unkey.data("keys.updateKey", keyId=key_id, permissions=["c"], roles=["writer"]) == {}
    assert unkey.shown(key_id) == before | {
        "permissions": ["c"],
        "roles": ["writer"],
        "updatedAt": NOW + 1000,
    }
    unkey.data("keys.updateKey", keyId=key_id, name=None, meta=None, permissions=[], roles=[], enabled=False)
    assert unkey.verdict(key) == "DISABLED"
    shown = unkey.shown(key_id)
    assert (shown["permissions"], shown["roles"], "name" in shown, "meta" in shown) == ([], [], False, False)


def test_an_unknown_permission_is_created_and_an_unknown_role_is_not(unkey: Unkey) -> None:
    key_id, _ = unkey.create(permissions=["first"])
    unkey.data("keys.updateKey", keyId=key_id, permissions=["second"])
    slugs = [found["slug"] for found in unkey.data("permissions.listPermissions")]
    assert slugs == ["first", "second"]
    assert unkey.refused("keys.updateKey", keyId=key_id, permissions=["third"], roles=["nobody"]) == 404
    assert unkey.refused("keys.createKey", apiId=API, roles=["nobody"]) == 404
    assert unkey.shown(key_id)["permissions"] == ["second"]
    assert len(unkey.data("permissions.listPermissions")) == 2  # the refused update made none
    unkey.data("permissions.createRole", name="reader", description="reads", permissions=["docs.read"])
    roles = unkey.data("permissions.listRoles", search="READ")
    assert [(role["name"], [held["slug"] for held in role["permissions"]]) for role in roles] == [
        ("reader", ["docs.read"])
    ]
    assert unkey.refused("permissions.createRole", name="reader") == 409
    unkey.data("permissions.createPermission", name="Fourth", slug="fourth")
    assert unkey.refused("permissions.createPermission", name="Again", slug="fourth") == 409
    assert [role["name"] for role in unkey.data("permissions.listRoles", limit=1)] == ["reader"]


def test_credits_and_their_refill(unkey: Unkey) -> None:
    key_id, key = unkey.create(credits={"remaining": 2})
    assert [unkey.verdict(key) for _ in range(3)] == ["VALID", "VALID", "USAGE_EXCEEDED"]
    refill = {"interval": "monthly", "amount": 5, "refillDay": 3}
    unkey.data("keys.updateKey", keyId=key_id, credits={"remaining": 4, "refill": refill})
    assert unkey.shown(key_id)["credits"] == {"remaining": 4, "refill": refill}
    assert unkey.verdict(key, credits={"cost": 5}) == "USAGE_EXCEEDED"
    assert unkey.data("keys.verifyKey", key=key, credits={"cost": 4})["credits"] == 0
    unkey.data("keys.updateKey", keyId=key_id, credits={"remaining": None})
    assert unkey.shown(key_id)["credits"] == {"remaining": None}
    assert unkey.verdict(key) == "VALID"
    unkey.data("keys.updateKey", keyId=key_id, credits=None)
    assert "credits" not in unkey.shown(key_id)


def test_rate_limits_of_a_key_that_apply_by_themselves(unkey: Unkey, clock: Clock) -> None:
    limits = [
        {"name": "requests", "limit": 2, "duration": 10_000, "autoApply": True},
        {"name": "exports", "limit": 1, "duration": 10_000, "autoApply": False},
    ]
    _, key = unkey.create(ratelimits=limits)
    told = unkey.data("keys.verifyKey", key=key)["ratelimits"]
    assert [(limit["name"], limit["remaining"], limit["exceeded"]) for limit in told] == [
        ("requests", 1, False)
    ]
    assert unkey.verdict(key, ratelimits=[{"name": "exports"}]) == "VALID"
    assert unkey.verdict(key) == "RATE_LIMITED"
    clock.move(10)
    assert [unkey.verdict(key, ratelimits=[{"name": "exports"}]) for _ in range(2)] == [
        "VALID",
        "RATE_LIMITED",
    ]
    assert unkey.refused("keys.verifyKey", key=key, ratelimits=[{"name": "nothing"}]) == 400


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("a", "VALID"),
        ("c", "VALID"),
        ("d", "INSUFFICIENT_PERMISSIONS"),
        ("a AND b", "VALID"),
        ("a AND d", "INSUFFICIENT_PERMISSIONS"),
        ("d OR b", "VALID"),
        ("d AND a OR b", "VALID"),
        ("d AND (a OR b)", "INSUFFICIENT_PERMISSIONS"),
        ("a AND", None),
        ("(a", None),
        ("a b", None),
    ],
)
def test_permissions_are_asked_for_by_a_query(unkey: Unkey, query: str, code: str | None) -> None:
    unkey.data("permissions.createRole", name="extra", permissions=["c"])
    _, key = unkey.create(permissions=["a", "b"], roles=["extra"])
    if code is None:
        assert unkey.refused("keys.verifyKey", key=key, permissions=query) == 400
    else:
        assert unkey.verdict(key, permissions=query) == code


def test_a_key_ends_when_it_expires_is_disabled_or_deleted(unkey: Unkey, clock: Clock) -> None:
    key_id, key = unkey.create(expires=NOW + MINUTE)
    assert unkey.verdict(key) == "VALID"
    clock.move(60)
    assert unkey.verdict(key) == "EXPIRED"
    unkey.data("keys.updateKey", keyId=key_id, expires=None)
    assert unkey.verdict(key) == "VALID"
    for permanent in (True, False):
        key_id, key = unkey.create()
        assert unkey.data("keys.deleteKey", keyId=key_id, permanent=permanent) == {}
        assert unkey.verdict(key) == "NOT_FOUND"
        for operation in ("keys.getKey", "keys.deleteKey", "keys.updateKey"):
            assert unkey.refused(operation, keyId=key_id) == 404
        assert unkey.refused("keys.whoami", key=key) == 404
    assert len(unkey.data("apis.listKeys", apiId=API)) == 1
    assert unkey.verdict("nonsense") == "NOT_FOUND"


def test_last_used_is_about_five_minutes_behind(unkey: Unkey, clock: Clock) -> None:
    key_id, key = unkey.create()
    assert "lastUsedAt" not in unkey.shown(key_id)
    for moved, behind in ((0, 0), (299, 299), (1, 0)):
        clock.move(moved)
        unkey.verdict(key)
        assert unkey.shown(key_id)["lastUsedAt"] == int(clock.now * 1000) - behind * 1000


@pytest.mark.parametrize(
    ("overlap", "ends"), [(0, 0), (1, 20_000), (20_000, 20_000), (20_001, 80_000), (3 * MINUTE, 200_000)]
)
def test_a_reroll_leaves_the_old_key_an_overlap_rounded_up_to_the_minute(
    unkey: Unkey, clock: Clock, overlap: int, ends: int
) -> None:
    # The test's clock stands at 40 s past the minute, so the next one is 20 s away.
    fields = {"name": "a", "meta": {"x": 1}, "permissions": ["p"], "expires": NOW + DAY, "prefix": "acme"}
    key_id, key = unkey.create(**fields, credits={"remaining": 7})
    made = unkey.data("keys.rerollKey", keyId=key_id, expiration=overlap)
    assert made["key"].startswith("acme_")
    assert len(made["key"]) == len(key)
    old, new = unkey.shown(key_id), unkey.shown(made["keyId"])
    assert old["expires"] == NOW + ends
    own = ("keyId", "start", "createdAt", "updatedAt")
    assert {name: value for name, value in new.items() if name not in own} == {
        name: value for name, value in old.items() if name not in own
    } | {"expires": NOW + DAY}
    if ends:
        clock.move(ends / 1000 - 1)
        assert unkey.verdict(key) == "VALID"
        clock.move(1)
    assert unkey.verdict(key) == "EXPIRED"
    assert unkey.verdict(made["key"]) == "VALID"
    assert unkey.refused("keys.rerollKey", keyId=key_id, expiration=0) == 400


def test_an_overlap_never_lengthens_a_life(unkey: Unkey) -> None:
    key_id, _ = unkey.create(expires=NOW + MINUTE)
    made = unkey.data("keys.rerollKey", keyId=key_id, expiration=DAY)
    assert {unkey.shown(one)["expires"] for one in (key_id, made["keyId"])} == {NOW + MINUTE}


RESTRICTED = {
    "nothing": frozenset[str](),
    "blind": frozenset({"api.*.create_key", "api.*.update_key", "api.*.delete_key", "api.*.verify_key"}),
    "reader": frozenset({"api.*.read_api", "api.*.read_key"}),
    "minter": frozenset({"api.*.read_api", "api.*.read_key", "api.*.create_key"}),
    "elsewhere": frozenset({"api.api_other.read_api", "api.api_other.read_key"}),
}


@pytest.fixture
def restricted(vendor: Callable[..., Vendor]) -> Callable[[str], Unkey]:
    service = vendor("unkey", unkey_root_keys={f"unkey_{name}": held for name, held in RESTRICTED.items()})
    return lambda name: Unkey(service, ROOT if name == "root" else f"unkey_{name}")


def test_what_a_root_key_may_not_read_is_a_404_and_what_it_may_not_do_a_403(
    restricted: Callable[[str], Unkey],
) -> None:
    key_id, key = restricted("root").create(name="a")
    calls: dict[str, dict[str, Any]] = {
        "apis.getApi": {"apiId": API},
        "apis.listKeys": {"apiId": API},
        "keys.createKey": {"apiId": API, "name": "b"},
        "keys.getKey": {"keyId": key_id},
        "keys.updateKey": {"keyId": key_id, "name": "c"},
        "keys.deleteKey": {"keyId": key_id},
        "keys.whoami": {"key": key},
    }
    masked = dict.fromkeys(calls, 404)
    expected = {
        "nothing": masked,
        "blind": masked,
        "elsewhere": masked,
        "reader": masked
        | dict.fromkeys(("apis.getApi", "apis.listKeys", "keys.getKey", "keys.whoami"), 200)
        | dict.fromkeys(("keys.createKey", "keys.updateKey", "keys.deleteKey"), 403),
        "minter": masked
        | dict.fromkeys(("apis.getApi", "apis.listKeys", "keys.createKey", "keys.getKey", "keys.whoami"), 200)
        | dict.fromkeys(("keys.updateKey", "keys.deleteKey"), 403),
    }
    for name in RESTRICTED:
        got = {call: restricted(name).send(call, **body).status_code for call, body in calls.items()}
        assert got == expected[name], name
    assert restricted("root").shown(key_id)["name"] == "a"
    # A namespace that is masked looks exactly like one that is not there.
    texts = [
        restricted("nothing").send("apis.getApi", apiId=api).json()["error"] for api in (API, "api_unknown")
    ]
    assert texts[0] == texts[1]


def test_a_permission_is_created_only_by_a_root_key_that_may(restricted: Callable[[str], Unkey]) -> None:
    assert restricted("minter").refused("keys.createKey", apiId=API, permissions=["new"]) == 403
    restricted("root").data("permissions.createPermission", name="New", slug="new")
    restricted("minter").create(permissions=["new"])
    for operation in ("permissions.listRoles", "permissions.listPermissions"):
        assert restricted("minter").refused(operation) == 403
    assert restricted("minter").refused("permissions.createRole", name="reader") == 403
    assert restricted("minter").refused("apis.createApi", name="another") == 403


def test_verifying_needs_a_permission_for_the_namespace(restricted: Callable[[str], Unkey]) -> None:
    _, key = restricted("root").create()
    assert restricted("blind").verdict(key) == "VALID"
    assert restricted("reader").refused("keys.verifyKey", key=key) == 403


def test_a_root_key_is_needed_and_a_key_is_none(unkey: Unkey) -> None:
    _, key = unkey.create()
    for credential in (key, "unkey_wrong"):
        assert Unkey(unkey.vendor, credential).refused("keys.whoami", key=key) == 401
    assert unkey.vendor.call("POST", "/v2/keys.whoami", {"key": key}, key=None).status_code == 401
    assert unkey.vendor.call("GET", "/v2/keys.whoami").status_code == 405
    assert unkey.vendor.call("POST", "/v2/keys.migrateKeys", {}).status_code == 404


def test_a_namespace_is_created_and_shown(unkey: Unkey) -> None:
    api_id = unkey.data("apis.createApi", name="payments")["apiId"]
    assert unkey.data("apis.getApi", apiId=api_id) == {"id": api_id, "name": "payments"}
    assert unkey.data("apis.listKeys", apiId=api_id) == []


def test_a_workspace_with_a_limit_says_so(vendor: Callable[..., Vendor]) -> None:
    unkey = Unkey(vendor("unkey", limit=RateLimit(per_minute=6, burst=1)))
    first = unkey.send("apis.getApi", apiId=API)
    names = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
    assert [first.headers[name] for name in names] == ["6", "0", "10"]
    over = unkey.send("apis.getApi", apiId=API)
    assert (over.status_code, over.headers["Retry-After"]) == (429, "10")


def test_the_checks_of_these_tests_can_fail(unkey: Unkey) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator("#/components/schemas/V2KeysGetKeyResponseBody").validate({"meta": {}, "data": {}})
    with pytest.raises(AssertionError):
        unkey.send("keys.createKey", apiId=5)
