"""What the profile language can say: requests as they go out, answers as they are understood."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from keyform.errors import ServiceError
from keyform.model import Credits, KeySpec, LiveKey, RateLimit, Refill, Secret
from tests.services.conftest import START, ManualClock
from tests.services.speaking import body, profile_text, speaking

NOON = datetime(2027, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC)


class Talk:
    """A service that answers every call with the same JSON, and keeps what was sent."""

    def __init__(self, text: str, answer: Any = None, **options: Any) -> None:
        self.requests: list[httpx.Request] = []
        self.answer = {"id": "k1", "secret": "s"} if answer is None else answer
        self.service = speaking(text, self._answer, **options)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, json=self.answer)

    @property
    def sent(self) -> list[tuple[str, str, Any]]:
        return [(r.method, r.url.path, body(r) if r.content else None) for r in self.requests]


def creating(fields: str, request: str, top: str = "", **options: Any) -> Talk:
    text = profile_text(top).replace("fields: [name]", f"fields: [{fields}]")
    return Talk(text.replace('body: {name: "{name}"}', f"body: {request}"), **options)


def listed(key: str, raw: dict[str, Any], top: str = "") -> LiveKey:
    text = profile_text(
        f"key: {{id: id, {key}}}\n{top}", "  list: {backing: documented, path: /keys, items: keys}"
    )
    sent = 'm: "{metadata}", d: "{description}", t: "{tags}", name: "{name}"'
    text = text.replace('body: {name: "{name}"}', f"body: {{{sent}}}")
    (found,) = Talk(text, {"keys": [{"id": "k1", **raw}]}).service.list().keys
    return found


def updating(
    update: str, mutable: str, fields: str = "", top: str = "", answer: Any = None, more: str = ""
) -> Talk:
    every = fields or mutable
    sent = ", ".join(f'{name}: "{{{name}}}"' for name in every.split(", "))
    text = profile_text(
        f"mutable: [{mutable}]\n{top}", f"  update: {{backing: documented, {update}}}\n{more}"
    )
    text = text.replace("fields: [name]", f"fields: [{every}]").replace(
        'body: {name: "{name}"}', f"body: {{{sent}}}"
    )
    return Talk(text, answer)


# Requests


@pytest.mark.parametrize(
    ("fields", "written", "spec", "sent"),
    [
        ("name", '{name: "{name}"}', KeySpec(name="n"), {"name": "n"}),
        ("name, description", '{n: "{name}", d: "{description}"}', KeySpec(name="n"), {"n": "n"}),
        (
            "name, description",
            '{n: "{name}", d: "{description|null}"}',
            KeySpec(name="n"),
            {"n": "n", "d": None},
        ),
        ("name, description", '{n: "{name}", d: "{description|}"}', KeySpec(name="n"), {"n": "n", "d": ""}),
        (
            "name, description",
            '{n: "{name}", d: "{description|none given}"}',
            KeySpec(name="n"),
            {"n": "n", "d": "none given"},
        ),
        (
            "name",
            '{n: "key {name} of {options.team}", static: [1, true, null]}',
            KeySpec(name="n"),
            {"n": "key n of blue", "static": [1, True, None]},
        ),
        ("scopes", '{s: "{scopes}"}', KeySpec(scopes=("a", "b")), {"s": ["a", "b"]}),
        ("scopes", '{s: "{scopes}"}', KeySpec(), {"s": []}),
        (
            "scopes",
            '{s: "{scopes|omit}", n: {deep: "{scopes.text}", csv: "{scopes.csv}"}}',
            KeySpec(),
            {"n": {}},
        ),
        (
            "scopes",
            '{t: "{scopes.text}", c: "{scopes.csv}"}',
            KeySpec(scopes=("a", "b")),
            {"t": "a b", "c": "a,b"},
        ),
        ("metadata", '{m: "{metadata}"}', KeySpec(metadata=(("a", "b"),)), {"m": {"a": "b"}}),
        (
            "allowed_origins",
            '{o: "{allowed_origins}"}',
            KeySpec(allowed_origins=("https://a",)),
            {"o": ["https://a"]},
        ),
        (
            "rate_limit",
            '{l: "{rate_limit.limit}", p: "{rate_limit.per_seconds}", ms: "{rate_limit.per_ms}"}',
            KeySpec(rate_limit=RateLimit(5, 60)),
            {"l": 5, "p": 60, "ms": 60000},
        ),
        ("rate_limit", '{l: "{rate_limit.limit}"}', KeySpec(), {}),
        (
            "credits",
            '{c: "{credits.remaining}", a: "{credits.amount}", i: "{credits.interval}/{credits.refill_day}"}',
            KeySpec(credits=Credits(0, Refill(5, "monthly", 31))),
            {"c": 0, "a": 5, "i": "monthly/31"},
        ),
        ("credits", '{c: "{credits}", a: "{credits.amount}"}', KeySpec(credits=Credits(7)), {"c": 7}),
        ("credits", '{c: "{credits.remaining|null}"}', KeySpec(), {"c": None}),
        ("expires_at", '{e: "{expires_at}"}', KeySpec(expires_at=NOON), {"e": "2027-01-01T12:00:00.500Z"}),
        (
            "expires_in",
            '{e: "{expires_in}"}',
            KeySpec(expires_at=START + timedelta(days=1, seconds=-0.001)),
            {"e": 86400},
        ),
        ("expires_in", '{e: "{expires_in}"}', KeySpec(), {}),
    ],
)
def test_a_create_says(fields: str, written: str, spec: KeySpec, sent: dict[str, Any]) -> None:
    talk = creating(fields, written, "options: {team: {default: blue}}")
    talk.service.create(spec, "lineage/1")
    assert talk.sent == [("POST", "/keys", sent)]


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ("epoch_s", 1798804800),
        ("epoch_ms", 1798804800500),
        ("{read: epoch_s, write: rfc3339}", "2027-01-01T12:00:00.500Z"),
    ],
)
def test_times_are_written_as_the_service_takes_them(times: str, said: Any) -> None:
    talk = creating("expires_at", '{e: "{expires_at}"}', f"times: {times}")
    talk.service.create(KeySpec(expires_at=NOON), "lineage/1")
    assert body(talk.requests[0]) == {"e": said}


@pytest.mark.parametrize(("days", "said"), [(None, "NONE"), (30, "30_DAYS"), (29.9999, "30_DAYS"), (365, 12)])
def test_a_window_of_expiry_goes_by_its_name(days: float | None, said: Any) -> None:
    top = "expiry: {windows: [30d, 1y]}\nnames: {windows: {never: NONE, 30d: 30_DAYS, 1y: 12}}"
    talk = creating("expires_in", '{window: "{expiry_window}"}', top)
    talk.service.create(
        KeySpec(expires_at=None if days is None else START + timedelta(days=days)), "lineage/1"
    )
    assert body(talk.requests[0]) == {"window": said}


def test_a_service_has_words_of_its_own() -> None:
    top = (
        "kinds: {full: {prefix: f_}, read: {prefix: r_}}\nenvironments: [live]\n"
        "names: {kinds: {full: FULL_ACCESS}, environments: {live: production}, scopes: {a: SCOPE_A}}"
    )
    talk = creating("kind, environment, scopes", '{k: "{kind}", e: "{environment}", s: "{scopes}"}', top)
    talk.service.create(KeySpec(kind="full", environment="live", scopes=("a", "b")), "lineage/1")
    assert body(talk.requests[0]) == {"k": "FULL_ACCESS", "e": "production", "s": ["SCOPE_A", "b"]}
    shown = listed(
        "kind: k, environment: e, scopes: s",
        {"k": "FULL_ACCESS", "e": "production", "s": ["SCOPE_A", "b"]},
        top.replace(
            "kinds: {full: {prefix: f_}, read: {prefix: r_}}\nenvironments: [live]",
            "kinds: {full: {}}\nenvironments: [live]",
        ).replace("names", "names", 1),
    )
    assert shown.spec == KeySpec(kind="full", environment="live", scopes=("a", "b"))


def test_a_form_headers_and_an_idempotency_key() -> None:
    top = 'headers: {X-Version: "2026-01"}'
    text = profile_text(top).replace(
        'body: {name: "{name}"}',
        'encoding: form, headers: {Idempotency-Key: "{idempotency_key}"}, body: {name: "{name}"}',
    )
    talk = Talk(text)
    talk.service.create(KeySpec(name="a b"), "lineage/1")
    request = talk.requests[0]
    assert parse_qs(request.content.decode()) == {"name": ["a b"]}
    assert request.headers["X-Version"] == "2026-01"
    assert request.headers["Idempotency-Key"].startswith("keyform-")


def test_an_id_stays_in_its_segment_of_the_path() -> None:
    talk = Talk(profile_text())
    for key_id, path in (("a/b", b"/keys/a%2Fb"), ("a?b#c", b"/keys/a%3Fb%23c"), ("..x", b"/keys/..x")):
        talk.service.revoke(key_id)
        assert talk.requests[-1].url.raw_path == path
    for key_id in ("", ".", ".."):
        with pytest.raises(ServiceError, match="is no id"):
            talk.service.revoke(key_id)


def test_a_secret_option_goes_nowhere_but_into_a_login() -> None:
    talk = creating(
        "name",
        '{name: "{name}", p: "{options.password}"}',
        "options: {password: {}}",
        password=Secret("CANARY"),
    )
    talk.service.create(KeySpec(name="n"), "lineage/1")
    assert body(talk.requests[0]) == {"name": "n"}


# Answers


@pytest.mark.parametrize(
    ("key", "raw", "seen"),
    [
        ("name: attributes.label", {"attributes": {"label": "n"}}, {"name": "n"}),
        ("name: attributes.label", {"attributes": None}, {"name": ""}),
        ("name: 'names[1]'", {"names": ["a", "b"]}, {"name": "b"}),
        ("scopes: 'grants[].slug'", {"grants": [{"slug": "b"}, {"slug": "a"}, {}]}, {"scopes": ("a", "b")}),
        ("scopes: {at: s, split: ' '}", {"s": "b  a"}, {"scopes": ("a", "b")}),
        ("scopes: {at: s, implied: {w: [r, 'x*']}}", {"s": ["w", "r", "x1", "y"]}, {"scopes": ("w", "y")}),
        ("scopes: {at: s, implied: {w: [r, 'x*']}}", {"s": ["r", "y"]}, {"scopes": ("r", "y")}),
        ("environment: {at: e, default: live}", {}, {"environment": "live"}),
        (
            "environment: {at: start, by: prefix, prefixes: {live: l_, test: t_}}",
            {"start": "t_ab"},
            {"environment": "test"},
        ),
        (
            "environment: {at: start, by: prefix, prefixes: {live: l_, test: t_}}",
            {"start": "zz"},
            {"environment": None},
        ),
        (
            "rate_limit: {at: limits, limit: n, per_ms: ms}",
            {"limits": {"n": 5, "ms": 60000}},
            {"rate_limit": RateLimit(5, 60)},
        ),
        (
            "rate_limit: {at: limits, limit: n, per_seconds: 60}",
            {"limits": {"n": 5}},
            {"rate_limit": RateLimit(5, 60)},
        ),
        (
            "rate_limit: {at: limits, where: {auto: true}, limit: n, per_ms: ms}",
            {"limits": [{"n": 1, "ms": 1000, "auto": False}, {"n": 5, "ms": 60000, "auto": True}]},
            {"rate_limit": RateLimit(5, 60)},
        ),
        (
            "rate_limit: {at: limits, where: {auto: true}, limit: n, per_ms: ms}",
            {"limits": [{"n": 1, "ms": 1000, "auto": False}]},
            {"rate_limit": None},
        ),
        ("credits: c", {"c": {"remaining": 0}}, {"credits": Credits(0)}),
        ("credits: c", {"c": {"remaining": None}}, {"credits": None}),
        ("credits: c", {"c": None}, {"credits": None}),
        ("credits: {at: quota, remaining: left}", {"quota": {"left": 3}}, {"credits": Credits(3)}),
        (
            "credits: {at: '', remaining: left, refill: {at: '', amount: n, interval: each, refill_day: d}}",
            {"left": 3, "n": 9, "each": "monthly", "d": 1},
            {"credits": Credits(3, Refill(9, "monthly", 1))},
        ),
        ("credits: {at: '', refill: {at: '', amount: again}}", {"remaining": 3}, {"credits": Credits(3)}),
        (
            "metadata: {at: m, values: json}",
            {"m": {"a": "b", "n": [1]}},
            {"metadata": (("a", "b"), ("n", "[1]"))},
        ),
        ("metadata: {at: m, values: json}", {"m": None}, {"metadata": ()}),
    ],
)
def test_a_field_is_found(key: str, raw: dict[str, Any], seen: dict[str, Any]) -> None:
    assert listed(key, raw).spec == replace(KeySpec(), **seen)


@pytest.mark.parametrize(
    ("times", "value", "seen"),
    [
        ("rfc3339", "2027-01-01T12:00:00.500Z", NOON),
        ("epoch_s", 1798804800.5, NOON),
        ("epoch_ms", 1798804800500, NOON),
        ("rfc3339", None, None),
        ("{read: epoch_s, never: 0}", 0, None),
        ("{read: rfc3339, never: ['', none]}", "none", None),
        ("epoch_ms", 2**62, datetime(8999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_time_is_understood(times: str, value: Any, seen: datetime | None) -> None:
    assert listed("expires_at: e", {"e": value}, f"times: {times}").spec.expires_at == seen


@pytest.mark.parametrize(
    ("status", "raw", "seen"),
    [
        ("status: s", {"s": "ON"}, "active"),
        ("status: s", {"s": "paused"}, "revoked"),
        ("status: s", {"s": "expired"}, "expired"),
        ("status: {at: s, revoked: {gone_at: present}}", {"s": "ON", "gone_at": "2026"}, "revoked"),
        ("status: {revoked: {enabled: false}}", {"enabled": False}, "revoked"),
        ("status: {revoked: {enabled: false}}", {"enabled": 0}, "active"),
        ("status: {disabled: {enabled: false}}", {"enabled": False}, "disabled"),
        (
            "status: {revoked: {gone: true}, disabled: {live: false}}",
            {"gone": True, "live": False},
            "revoked",
        ),
        ("status: state", {"state": "disabled"}, "disabled"),
        (
            "status: {revoked: {state: [dead, gone]}, expired: {late: true}}",
            {"state": "x", "late": True},
            "expired",
        ),
        ("hint: h", {}, "active"),
    ],
)
def test_a_status_is_told_by_words_or_by_conditions(status: str, raw: dict[str, Any], seen: str) -> None:
    top = "names: {statuses: {active: 'ON', revoked: ['OFF', paused]}}"
    assert listed(status, raw, top).status == seen


@pytest.mark.parametrize(
    "raw",
    [
        {"s": "who knows"},
        {"s": None},
        {"s": 1},
        {"e": "soon"},
        {"e": True},
        {"m": "x"},
        {"r": [1]},
        {"n": 7},
        {"id": 7},
        {"id": ""},
    ],
)
def test_what_makes_no_sense_is_said(raw: dict[str, Any]) -> None:
    key = "status: s, expires_at: e, metadata: m, rate_limit: r, name: n"
    text = profile_text(
        f"key: {{id: id, {key}}}\ntimes: epoch_s", "  list: {backing: documented, path: /keys, items: keys}"
    )
    talk = Talk(text, {"keys": [{"id": "k1", "s": "active", **raw}]})
    listing = talk.service.list()
    assert not listing.complete
    assert "page 1 holds a key" in listing.problem.summary


def test_a_number_is_an_id_only_where_it_is_said() -> None:
    text = profile_text("key: {id: {at: id, number: true}}", "  list: {backing: documented, path: /keys}")
    assert [key.id for key in Talk(text, [{"id": 7}]).service.list().keys] == ["7"]


def test_entries_that_are_no_keys_are_passed_over() -> None:
    text = profile_text(
        "key: {id: id}", "  list: {backing: documented, path: /keys, where: {kind: [api, key]}}"
    )
    raw = [{"id": "1", "kind": "api"}, {"id": "2", "kind": "session"}, {"id": "3", "kind": "key"}]
    assert [key.id for key in Talk(text, raw).service.list().keys] == ["1", "3"]


# The label

MARKERS = [
    ("marker: metadata", "metadata", "metadata: m", {"m": {"keyform": "l/1", "a": "b"}}),
    (
        "marker: {in: metadata, entry: owned-by}",
        "metadata",
        "metadata: m",
        {"m": {"owned-by": "l/1", "a": "b"}},
    ),
    ("marker: name", "name", "name: m", {"m": "shown [keyform:l/1]"}),
    ("marker: {in: name, suffix: ' #{label}'}", "name", "name: m", {"m": "shown #l/1"}),
    ("marker: description", "description", "description: m", {"m": "shown [keyform:l/1]"}),
    ("marker: tags", "tags", "tags: m", {"m": ["keyform:l/1"]}),
    ("marker: {in: tags, prefix: 'k='}", "tags", "tags: m", {"m": ["k=l/1"]}),
]


@pytest.mark.parametrize(("top", "place", "key", "wire"), MARKERS, ids=[marker[0] for marker in MARKERS])
def test_the_label_travels_and_is_not_shown(top: str, place: str, key: str, wire: dict[str, Any]) -> None:
    shown: dict[str, Any] = (
        {"metadata": (("a", "b"),)} if place == "metadata" else {place: "shown"} if place != "tags" else {}
    )
    fields = "name" if place == "tags" else place
    talk = creating(fields, f'{{m: "{{{place}}}", x: "{{{fields}}}"}}', top)
    talk.service.create(replace(KeySpec(name="n"), **shown), "l/1")
    assert body(talk.requests[0])["m"] == wire["m"]
    found = listed(
        key,
        wire,
        f"{top}\nfields: [{fields}]".replace("fields: [name]", "").replace(f"fields: [{fields}]", ""),
    )
    assert found.label == "l/1"
    assert found.spec == replace(KeySpec(), **shown)


@pytest.mark.parametrize(
    "name", ["", "plain", "odd [keyform:]", "odd [keyform:no label]", "[keyform:a/b] first", "a [keyform:a/b"]
)
def test_a_name_that_only_looks_like_a_label_is_a_name(name: str) -> None:
    found = listed("name: n", {"n": name}, "marker: name")
    assert (found.spec.name, found.label) == (name, None)


# Updates

KEY = LiveKey("k1", KeySpec(name="old", scopes=("a", "b"), metadata=(("x", "1"), ("y", "2"))), label="l/1")
WANT = KeySpec(name="new", scopes=("b", "c"), metadata=(("y", "3"), ("z", "4")))


def test_the_named_fields_alone() -> None:
    update = (
        'method: PATCH, path: "/keys/{id}", fields: {name: {name: "{name}"}, scopes: {a: {s: "{scopes}"}}}'
    )
    talk = updating(update, "name, scopes")
    talk.service.update(KEY, WANT, frozenset({"scopes"}))
    talk.service.update(KEY, WANT, frozenset({"name", "scopes"}))
    assert talk.sent == [
        ("PATCH", "/keys/k1", {"a": {"s": ["b", "c"]}}),
        ("PATCH", "/keys/k1", {"name": "new", "a": {"s": ["b", "c"]}}),
    ]


def test_all_fields_that_can_change() -> None:
    update = (
        'path: /rpc, send: all, body: {key: "{id}"}, '
        'fields: {name: {name: "{name}"}, scopes: {s: "{scopes}"}}'
    )
    talk = updating(update, "name, scopes")
    talk.service.update(KEY, WANT, frozenset({"name"}))
    assert talk.sent == [("POST", "/rpc", {"key": "k1", "name": "new", "s": ["a", "b"]})]


QUOTA = LiveKey("k1", KeySpec(name="old", credits=Credits(100, Refill(10, "daily"))), label="l/1")
SAID = 'credits: {c: {left: "{credits.remaining|null}", again: "{credits.amount|null}"}}'


@pytest.mark.parametrize(
    ("credits", "sent"),
    [
        (Credits(100, Refill(20, "daily")), {"again": 20}),
        (Credits(100), {"again": None}),
        (Credits(50, Refill(10, "daily")), {"left": 50, "again": 10}),
        (None, {"left": None, "again": None}),
    ],
)
def test_what_use_has_left_is_said_only_where_it_changes(
    credits: Credits | None, sent: dict[str, Any]
) -> None:
    talk = updating(f'method: PUT, path: "/keys/{{id}}", fields: {{{SAID}}}', "credits")
    talk.service.update(QUOTA, KeySpec(credits=credits), frozenset({"credits"}))
    assert talk.sent == [("PUT", "/keys/k1", {"c": sent})]


def test_what_use_has_left_stays_in_an_object_that_is_sent_whole() -> None:
    raw = {"id": "k1", "name": "old", "c": {"left": 3, "again": 10}}
    update = (
        f'method: PUT, path: "/keys/{{id}}", send: merged, fields: {{name: {{name: "{{name}}"}}, {SAID}}}'
    )
    read = '  read: {backing: documented, path: "/keys/{id}"}'
    talk = updating(update, "name, credits", top="key: {id: id, name: name}", answer=raw, more=read)
    talk.service.update(QUOTA, KeySpec(credits=Credits(100, Refill(20, "daily"))), frozenset({"credits"}))
    assert [what for what in talk.sent if what[2]] == [
        ("PUT", "/keys/k1", {"id": "k1", "name": "old", "c": {"left": 3, "again": 20}})
    ]


MARKED = "marker: metadata\nkey: {id: id, name: name, metadata: meta}"


def test_the_whole_object_with_the_change_written_over_it() -> None:
    raw = {
        "id": "k1",
        "created": 1,
        "name": "old",
        "config": {"s": ["a"], "kept": 1},
        "foreign": [1],
        "meta": {"x": "1"},
    }
    update = (
        'method: PUT, path: "/keys/{id}", send: merged, drop: [id, created], '
        'fields: {name: {name: "{name}"}, scopes: {config: {s: "{scopes}"}}, metadata: {meta: "{metadata}"}}'
    )
    read = '  read: {backing: documented, path: "/keys/{id}", key: data}'
    talk = updating(update, "name, scopes, metadata", answer={"data": raw}, more=read, top=MARKED)
    talk.service.update(KEY, WANT, frozenset({"scopes"}))
    talk.service.update(KEY, WANT, frozenset({"metadata"}))
    puts = [sent for method, _, sent in talk.sent if method == "PUT"]
    assert puts[0] == {
        "name": "old",
        "config": {"s": ["b", "c"], "kept": 1},
        "foreign": [1],
        "meta": {"x": "1"},
    }
    assert puts[1]["meta"] == {"y": "3", "z": "4", "keyform": "l/1"}, (
        "what was there is replaced, the label kept"
    )


def test_nothing_is_written_over_what_cannot_be_read_whole() -> None:
    update = 'method: PUT, path: "/keys/{id}", send: merged, fields: {name: {name: "{name}"}}'
    read = '  read: {backing: documented, path: "/keys/{id}", key: data}'
    talk = updating(update, "name", answer=[], more=read, top="key: {id: id}")
    with pytest.raises(ServiceError, match="cannot be read as a whole"):
        talk.service.update(KEY, WANT, frozenset({"name"}))
    assert [method for method, _, _ in talk.sent] == ["GET"]


def test_a_list_of_operations() -> None:
    update = (
        'method: PATCH, path: "/keys/{id}", body: {ops: "{operations}"}, '
        'fields: {name: [{op: replace, path: /name, value: "{name}"}], '
        'scopes: [{op: replace, path: /s, value: "{scopes.csv}"}]}'
    )
    talk = updating(update, "name, scopes")
    talk.service.update(KEY, WANT, frozenset({"name", "scopes"}))
    assert talk.sent == [("PATCH", "/keys/k1", {"ops": [
        {"op": "replace", "path": "/name", "value": "new"}, {"op": "replace", "path": "/s", "value": "b,c"},
    ]})]  # fmt: skip


def test_a_field_with_calls_of_its_own_one_per_entry() -> None:
    update = (
        'path: /unused, calls: {scopes: [{method: PUT, path: "/keys/{id}/scopes/{item}", each: added}, '
        '{method: DELETE, path: "/keys/{id}/scopes/{item}", each: removed}], '
        'metadata: [{method: PUT, path: "/keys/{id}/labels/{item}", body: {value: "{item_value}"}, '
        "each: added}, "
        '{method: DELETE, path: "/keys/{id}/labels/{item}", each: removed}], '
        'name: {path: "/keys/{id}:rename", body: {to: "{name}"}}}'
    )
    talk = updating(update, "name, scopes, metadata")
    shown = talk.service.update(KEY, WANT, frozenset({"name", "scopes", "metadata"}))
    assert talk.sent == [
        ("PUT", "/keys/k1/scopes/c", None),
        ("DELETE", "/keys/k1/scopes/a", None),
        ("PUT", "/keys/k1/labels/z", {"value": "4"}),
        ("PUT", "/keys/k1/labels/y", {"value": "3"}),
        ("DELETE", "/keys/k1/labels/x", None),
        ("POST", "/keys/k1:rename", {"to": "new"}),
    ]
    assert shown == replace(KEY, spec=WANT)


# Rate limits


@pytest.mark.parametrize(
    ("headers", "answer", "waited"),
    [
        ("{reset: X-Reset, reset_is: seconds}", httpx.Response(429, headers={"X-Reset": "7"}), 7),
        ("{reset: X-Reset}", httpx.Response(429, headers={"X-Reset": str(int(START.timestamp()) + 9)}), 9),
        ("{wait_at: [retry_after_s]}", httpx.Response(429, json={"retry_after_s": 11}), 11),
        (
            "{wait_at: [message]}",
            httpx.Response(429, json={"message": "Slow down, retry after 13 seconds."}),
            13,
        ),
        ("{limit: X-Limit}", httpx.Response(429, headers={"Retry-After": "15"}), 15),
        ("{limit: X-Limit}", httpx.Response(429), 1),
    ],
)
def test_a_wait_is_found_wherever_a_service_says_it(
    headers: str, answer: httpx.Response, waited: float
) -> None:
    clock = ManualClock()
    answers = [answer, httpx.Response(200, json={"id": "k1", "secret": "s"})]
    service = speaking(profile_text(f"rate_limit_headers: {headers}"), lambda request: answers.pop(0), clock)
    service.create(KeySpec(name="n"), "lineage/1")
    assert clock.monotonic() == pytest.approx(waited, abs=0.1)


def test_json_is_sent_as_json(clock: ManualClock) -> None:
    talk = Talk(profile_text())
    talk.service.create(KeySpec(name="✓"), "lineage/1")
    assert json.loads(talk.requests[0].content) == {"name": "✓"}
    assert talk.requests[0].headers["Authorization"] == "Bearer CANARY-credential"
    assert talk.requests[0].url.host == "made-up.example"
