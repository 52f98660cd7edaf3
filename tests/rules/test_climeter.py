"""CLIMeter's rules, where they are declared and where they are broken directly."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.cli.main import run
from keyform.engine.options import Options
from keyform.model import Place, Secret, instant
from keyform.ports import ANYTHING, Over, Store
from keyform.reference.dialects.climeter import CATALOGUE
from keyform.services.profiles import load_profile
from tests.rules.conftest import Rule, Rules, StaysOpen, code_of

DOCS = "CLIMeter Docs, API keys"
SCOPES = {
    "events:write",
    "events:read",
    "tools:read",
    "tools:write",
    "billing:read",
    "billing:write",
    "keys:manage",
}


def key(fields: str) -> str:
    return "keys: {k: {service: it, secret: k, " + fields + "}}\n"


RULES = {
    "a long name": Rule(
        key(f"scopes: ['events:write'], name: {'n' * 201}"),
        "too-long",
        ("take at most 200", "Nothing says how long a name may be"),
        "no public statement was found",
        {"scopes": ["events:write"], "name": "n" * 201},
        (422, "invalid_request"),
    ),
    "seven scopes": Rule(
        key("scopes: ['events:delete']"),
        "unknown-scope",
        ("no scope `events:delete`", "one of seven scopes"),
        DOCS,
        {"scopes": ["events:delete"]},
        (422, "unknown_scope"),
    ),
    "scopes are written out": Rule(
        key("name: x"), "missing-scopes", ("need `scopes`",), DOCS, {"scopes": []}, (422, "invalid_request")
    ),
    **{
        f"no {field}": Rule(
            key(f"scopes: ['events:write'], {field}: {declared}"),
            "unsupported-field",
            (f"take no `{field}`", "A create takes a name and scopes, nothing else"),
            DOCS,
            {"scopes": ["events:write"], field: sent},
            (422, "invalid_request"),
        )
        for field, declared, sent in (
            ("kind", "admin", "admin"),
            ("environment", "live", "live"),
            ("project", "web", "web"),
            ("description", "x", "x"),
            ("allowed_origins", "['https://a.example']", ["https://a.example"]),
            ("expires_in", "30d", "30d"),
            ("rate_limit", "{limit: 1, per: 1s}", {"limit": 1, "per_seconds": 1}),
            ("credits", "{remaining: 1}", {"remaining": 1}),
            ("metadata", "{a: b}", {"a": "b"}),
        )
    },
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_breaks_a_rule_is_refused_twice(rules: Callable[..., Rules], rule: Rule) -> None:
    rules("climeter").check(rule)


def test_the_catalogue_is_the_table_of_the_docs() -> None:
    profile = load_profile("climeter", None)  # type: ignore[arg-type]
    assert profile is not None
    assert profile.scopes is not None
    assert set(profile.scopes) == SCOPES == CATALOGUE.scopes


def test_no_scopes_at_all_is_told_without_advice_that_leads_to_another_error(
    rules: Callable[..., Rules],
) -> None:
    (told,) = rules("climeter").validate(key("scopes: []"))
    assert (
        told.detail
        == "Name at least one, or leave the field out where the service takes a key without scopes."
    )


READER = key("scopes: ['tools:read']")


def test_the_plan_says_what_it_cannot_see(rules: Callable[..., Rules]) -> None:
    it = rules("climeter")
    for body in (READER, READER):
        (told,) = it.plan(body).diagnostics
        assert (told.severity, told.code) == ("note", "no-listing")
        assert "it: keyform sees no listing of keys there and goes by the state alone" in told.summary
        assert "can revoke the key only if its id had arrived" in told.detail
        assert DOCS in told.detail
        it.apply(body)
    assert it.plan(READER).changes == ()
    assert it.vendor.call("GET", "/v1/keys", key=it.token()).status_code == 405


@pytest.mark.parametrize(
    ("after", "noun"),
    [("scopes: ['tools:read', 'tools:write']", "scopes"), ("name: b, scopes: ['tools:read']", "name")],
)
def test_every_change_needs_a_new_key_and_the_old_one_gets_401(
    rules: Callable[..., Rules], after: str, noun: str
) -> None:
    it = rules("climeter")
    it.apply(READER)
    old = it.world.stored("keys.k")
    assert old is not None
    assert it.vendor.call("GET", "/v1/tools", key=old.reveal()).status_code == 200
    (change,) = it.plan(key(after)).changes
    assert change.action == "replace"
    assert f"cannot change {noun}, so a new key replaces it ({DOCS})" in change.reason
    it.apply(key(after))
    new = it.world.stored("keys.k")
    assert new is not None
    assert it.vendor.call("GET", "/v1/tools", key=new.reveal()).status_code == 200
    assert it.vendor.call("GET", "/v1/tools", key=old.reveal()).status_code == 401
    assert it.vendor.call("PATCH", "/v1/keys/key_1", {"name": "b"}, key=it.token()).status_code == 405


def test_an_overlap_leaves_the_old_key_beside_the_new_one(rules: Callable[..., Rules]) -> None:
    it = rules("climeter")
    body = key("scopes: ['tools:read'], rotation: {every: 30d, overlap: 1d}")
    it.apply(body)
    old = it.world.stored("keys.k")
    assert old is not None
    it.clock.move(days=30)
    it.apply(body)
    assert it.vendor.call("GET", "/v1/tools", key=old.reveal()).status_code == 200
    it.clock.move(days=1)
    it.apply(body)
    assert it.vendor.call("GET", "/v1/tools", key=old.reveal()).status_code == 401


def test_asked_for_now_nothing_but_the_new_key_works(rules: Callable[..., Rules]) -> None:
    it = rules("climeter")
    it.apply(key("scopes: ['tools:read'], rotation: {every: 30d, overlap: 1d}"))
    secrets = [it.world.stored("keys.k")]
    for now in (False, True):
        options = Options(rotate=("keys.k",), rotate_now=now)
        assert not it.world.apply(options).failed
        secrets.append(it.world.stored("keys.k"))
    answers = [it.vendor.call("GET", "/v1/tools", key=s.reveal()).status_code for s in secrets if s]
    assert answers == [401, 401, 200]
    assert it.world.plan().changes == ()


def test_a_scope_that_a_key_lacks_is_a_403_and_a_foreign_token_a_401(rules: Callable[..., Rules]) -> None:
    it = rules("climeter")
    it.apply(key("scopes: ['events:write']"))
    secret = it.world.stored("keys.k")
    assert secret is not None
    assert it.vendor.call("POST", "/v1/events", {}, key=secret.reveal()).status_code == 202
    refused = it.vendor.call("GET", "/v1/tools", key=secret.reveal())
    assert (refused.status_code, code_of(refused)) == (403, "insufficient_scope")
    refused = it.vendor.call("POST", "/v1/keys", {"name": "k", "scopes": ["tools:read"]}, key="a.b.c")
    assert (refused.status_code, code_of(refused)) == (401, "invalid_token")


def test_a_key_is_adopted_as_declared_since_nothing_shows_it(rules: Callable[..., Rules]) -> None:
    it = rules("climeter")
    plan = it.plan(READER + "imports: [{key: k, id: key_1}]\n")
    assert [change.action for change in plan.changes] == ["import"]
    assert "taken to be as declared" in plan.changes[0].reason
    assert [told.code for told in plan.diagnostics] == ["secret-unknown", "no-listing"]


class Minting(StaysOpen):
    """Remembers the texts of new keys, and loses answers to creates on demand."""

    lose = False

    def __init__(self, it: Rules) -> None:
        super().__init__(it.vendor.application)
        self.secrets: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if request.method == "POST" and request.url.path == "/v1/keys":
            response.read()
            self.secrets.append(response.json()["key"])
            if self.lose:
                raise httpx.ReadError("lost", request=request)
        return response


@pytest.mark.parametrize("after_writing", [False, True])
def test_a_crash_after_the_answer_leaves_no_stray_key(
    rules: Callable[..., Rules], tmp_path: Path, after_writing: bool
) -> None:
    """The journal knows the id, so no listing is needed to find the key."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        dies = Rules("climeter", tmp_path)
        network = Minting(dies)

        def dying(store: Store) -> Store:
            put = store.put

            def die(place: Place, secret: Secret, labels: dict[str, str], over: Over = ANYTHING) -> None:
                if after_writing or not labels:  # without labels: the canary of a probe
                    put(place, secret, labels)
                if not labels:
                    return
                os.write(writer, network.secrets[0].encode())
                os._exit(0)

            store.put = die  # type: ignore[method-assign]
            return store

        with suppress(BaseException):
            dies.declare(READER).apply(wrap=Wrapping(transport=lambda _: network, store=dying))
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    first = os.read(reader, 100).decode()
    it = rules("climeter")
    network = Minting(it)
    it.world.wrap = Wrapping(transport=lambda _: network)
    assert not it.declare(READER).apply().failed
    assert len(network.secrets) == (0 if after_writing else 1)
    stored = it.world.stored("keys.k")
    assert stored is not None
    assert stored.reveal() == (first if after_writing else network.secrets[0])
    assert it.vendor.call("GET", "/v1/tools", key=stored.reveal()).status_code == 200
    assert it.vendor.call("GET", "/v1/tools", key=first).status_code == (200 if after_writing else 401)


def test_a_lost_answer_is_told_with_what_to_look_for(rules: Callable[..., Rules]) -> None:
    it = rules("climeter")
    network = Minting(it)
    network.lose = True
    it.world.wrap = Wrapping(transport=lambda _: network)
    it.declare(key("name: Reader, scopes: ['tools:read']"))
    outcome = it.world.apply()
    assert len(outcome.failed) == 1
    (told,) = (entry["diagnostic"] for entry in it.world.told if entry["type"] == "warning")
    assert told["code"] == "perhaps-stray"
    assert "a key named 'Reader' may have been minted at it on 2026-11-20T12:00:00Z" in told["summary"]
    assert "whose secret is stored nowhere" in told["summary"]
    assert "keyform sees no listing there" in told["detail"]
    assert "a key named 'Reader' made at about 2026-11-20T12:00:00Z, and revoke it there" in told["detail"]
    assert len(network.secrets) == 1, "a create that may have been carried out is not sent again"
    (again,) = (d for d in it.world.plan().diagnostics if d.severity == "warning")
    assert again.as_json() == told
    network.lose = False
    assert not it.world.apply().failed
    assert len(network.secrets) == 2
    assert "perhaps-stray" in [d.code for d in it.world.plan().diagnostics]


def test_a_wrong_password_is_told_by_doctor_and_by_the_plan(
    rules: Callable[..., Rules], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    it = rules("climeter")
    it.declare(key("name: Reader, scopes: ['tools:read']"))

    def keyform(verb: str) -> tuple[int, str]:
        code = run(["-C", str(it.world.folder), verb], clock=it.clock, wrap=it.world.wrap)
        told = capsys.readouterr()
        return code, " ".join((told.out + told.err).split())

    code, told = keyform("doctor")
    assert code == 0, told
    assert "its login was accepted; nothing lists its keys" in told
    assert keyform("plan")[0] == 0
    monkeypatch.setenv("ROOT", "not-the-password")
    for verb in ("doctor", "plan"):
        code, told = keyform(verb)
        assert code == 1, told
        assert "Check the service's login: the name or the password is wrong." in told
        assert "not-the-password" not in told


def jwt(ends: datetime | None) -> str:
    claims = {"sub": "someone", **({"exp": int(ends.timestamp())} if ends else {})}
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    made = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join((*made, "c2lnbmF0dXJl"))


@pytest.mark.parametrize("verb", ["plan", "doctor"])
def test_a_token_that_has_ended_is_told_before_a_change(
    rules: Callable[..., Rules],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: str,
) -> None:
    it = rules("climeter")
    at = 'endpoint: "http://localhost:1", credential: "${env:TOKEN}"'
    it.world.write(f"version: 1\nservices:\n  it: {{type: climeter, {at}}}\n{READER}")
    now = it.clock.now()

    def keyform() -> tuple[int, str]:
        code = run(["-C", str(it.world.folder), verb], clock=it.clock, wrap=it.world.wrap)
        told = capsys.readouterr()
        return code, " ".join((told.out + told.err).split())

    for sound in (jwt(now + timedelta(minutes=5)), jwt(None), "no.token.atall", "clmtr_key"):
        monkeypatch.setenv("TOKEN", sound)
        assert keyform()[0] == 0
    monkeypatch.setenv("TOKEN", jwt(now - timedelta(hours=2)))
    code, told = keyform()
    assert code == 1, told
    assert f"its credential is a token that ended {instant(now - timedelta(hours=2))}" in told
    assert "With `email` and `password` keyform fetches one itself" in told


def test_an_ended_token_beside_a_login_is_never_sent(
    rules: Callable[..., Rules], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = rules("climeter")
    monkeypatch.setenv("TOKEN", jwt(it.clock.now() - timedelta(hours=2)))
    shown: list[str] = []

    class Watching(StaysOpen):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            shown.append(request.headers.get("Authorization", ""))
            return super().handle_request(request)

    it.world.wrap = Wrapping(transport=lambda _: Watching(it.vendor.application))
    it.declare(READER, 'credential: "${env:TOKEN}"')
    assert not it.world.apply().failed
    assert not [header for header in shown if os.environ["TOKEN"] in header]


def test_a_token_of_the_login_that_is_refused_for_good_is_told_as_such(
    rules: Callable[..., Rules],
) -> None:
    it = rules("climeter")

    class Closed(StaysOpen):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == "/v1/auth/login":
                return super().handle_request(request)
            return httpx.Response(401, json={"error": {"code": "invalid_token", "message": "no"}})

    it.world.wrap = Wrapping(transport=lambda _: Closed(it.vendor.application))
    outcome = it.declare(READER).apply()
    assert outcome.failed
    words = str(it.world.told)
    assert "`credential`" not in words
    assert "The login was accepted, and the token that it gave is refused" in words
