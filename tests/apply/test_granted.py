"""A service that grants something else than it is asked for: it is told at once, or the key is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.apply import Workspace, Wrapping
from keyform.model import Place
from keyform.report.state import record_text, state_text
from keyform.report.style import Style
from tests.apply.outside import (
    backend,
    codes,
    crash,
    declare,
    die,
    journal_is_empty,
    nth,
    requests,
    summaries,
    warned,
)
from tests.reference.conftest import ROOT
from tests.rules.conftest import Rules, StaysOpen
from tests.world import World, inspect

Body = Callable[[dict[str, Any]], None]
DAY = timedelta(days=1)


def asked_otherwise(spoil: Body, *methods: str) -> Wrapping:
    """The service hears something else than keyform says when it creates (and changes) keys."""

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        if request.method in methods and request.url.path.startswith("/v1/keys"):
            body = json.loads(request.read())
            spoil(body)
            headers = {
                k: v for k, v in request.headers.items() if k not in ("content-length", "content-type")
            }
            request = httpx.Request(request.method, request.url, headers=headers, json=body)
        return send(request)

    return requests(answer)


def unending(body: dict[str, Any]) -> None:
    body.pop("expires_at", None)


def longer(body: dict[str, Any]) -> None:
    body["expires_at"] = "2036-11-17T12:00:00Z"


@pytest.mark.parametrize("spoil", [unending, longer])
def test_an_end_that_was_not_granted_is_told_and_comes_with_the_next_apply(world: World, spoil: Body) -> None:
    world.write(declare(a="secret: a, expires_in: 30d"))
    assert not world.apply(wrap=asked_otherwise(spoil, "POST")).failed
    assert warned(world) == ["granted-otherwise"]
    (told,) = [e["diagnostic"] for e in world.told if e["type"] == "warning"]
    had = "never" if spoil is unending else "2036-11-17T12:00:00Z"
    assert told["summary"] == (
        f"keys.a: sandbox granted expires_at {had} where 2026-12-20T12:00:00Z was asked for"
    )
    assert "declare what it grants" in told["detail"]
    record = world.state().keys["keys.a"]
    assert record.current.spec.expires_at == world.clock.now() + 30 * DAY
    assert "2026-12-20T12:00:00Z (asked for, not granted)" in state_text(world.state(), "s", Style(width=200))
    assert "granted otherwise" in record_text(record, Style())
    (change,) = world.plan().changes
    assert (change.action, change.drift) == ("update", True)
    assert "sandbox granted expires_at otherwise than keyform last asked for" in change.reason
    assert not world.apply().failed
    (key,) = world.live().values()
    assert key.spec.expires_at == world.state().keys["keys.a"].current.spec.expires_at
    assert world.plan().empty
    assert not world.state().keys["keys.a"].current.otherwise


def test_a_service_that_never_grants_it_is_named_each_time(world: World) -> None:
    world.write(declare(a="secret: a, expires_in: 30d"))
    for _ in range(3):
        world.told.clear()
        assert not world.apply(wrap=asked_otherwise(unending, "POST", "PATCH")).failed
        assert warned(world) == ["granted-otherwise"]
        assert "granted expires_at otherwise" in world.plan().changes[0].reason
        world.clock.move(days=1)


def test_a_rotation_before_the_end_comes_although_the_service_granted_none(world: World) -> None:
    world.write(declare(a="secret: a, expires_in: 30d, rotation: {before_expiry: 5d}"))
    assert not world.apply(wrap=asked_otherwise(unending, "POST")).failed
    for days, reason in (
        (26, "rotation is due: it expires 2026-12-20T12:00:00Z, in less than 5d"),
        (5, "was to expire on 2026-12-20T12:00:00Z"),
    ):
        world.clock.move(days=days)
        (change,) = world.plan().changes
        assert change.action == "rotate"
        assert reason in change.reason
    assert not world.apply().failed
    assert world.plan().empty


@pytest.mark.parametrize(
    ("fields", "spoil", "says"),
    [
        (
            "rate_limit: {limit: 5, per: 60s}",
            lambda b: b.pop("rate_limit"),
            "rate_limit.limit nothing where",
        ),
        ("description: one", lambda b: b.update(description="two"), "description two where one"),
        ('metadata: {team: "x"}', lambda b: b["metadata"].update(team="y"), "metadata.team y where x"),
        ("project: web", lambda b: b.update(project="mobile"), "project mobile where web"),
        (
            'allowed_origins: ["https://a.example"], kind: public',
            lambda b: b.update(allowed_origins=["https://b.example"]),
            "allowed_origins [https://b.example] where [https://a.example]",
        ),
    ],
)
def test_every_field_that_the_service_shows_is_read_back(
    world: World, fields: str, spoil: Body, says: str
) -> None:
    rest = "projects: {web: {service: sandbox}, mobile: {service: sandbox}}" if "project" in fields else ""
    world.write(declare(rest=rest, a=f"secret: a, {fields}"))
    assert not world.apply(wrap=asked_otherwise(spoil, "POST")).failed
    told = [e["diagnostic"]["summary"] for e in world.told if e["type"] == "warning"]
    assert any(says in text for text in told), told
    (change,) = world.plan().changes
    assert f"granted {says.split()[0].partition('.')[0]} otherwise" in change.reason


def reading(body: dict[str, Any]) -> None:
    body.update(kind="read", scopes=["events:read"])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            reading,
            "minted a key of kind read where secret was asked for",
        ),
        (lambda b: b.update(environment="test"), "minted a key of environment test where live was asked for"),
    ],
)
def test_a_key_of_another_kind_is_never_stored_and_revoked_again(
    world: World, spoil: Body, says: str
) -> None:
    world.write(declare("a"))
    outcome = world.apply(wrap=asked_otherwise(spoil, "POST"))
    assert says in summaries(outcome)
    assert codes(outcome) == ["granted-otherwise", "mint-undone"]
    assert (world.live(), world.state().keys, journal_is_empty(world)) == ({}, {}, True)
    with world.open(Wrapping()) as ws:
        assert not world.entries(ws)
    assert not world.apply().failed
    assert not inspect(world)


def test_a_key_of_another_kind_does_not_take_the_place_of_one_that_works(world: World) -> None:
    world.write(declare(a="secret: a, rotation: {every: 10d}"))
    assert not world.apply().failed
    before = world.stored("keys.a")
    world.clock.move(days=11)
    outcome = world.apply(wrap=asked_otherwise(reading, "POST"))
    assert codes(outcome) == ["granted-otherwise", "mint-undone"]
    assert world.stored("keys.a") == before
    assert len(world.live()) == 1


def test_a_crash_before_the_end_is_recorded_changes_nothing(tmp_path: Path) -> None:
    states = []
    for name in ("whole", "crashed"):
        (tmp_path / name).mkdir()
        world = World(tmp_path / name)
        world.write(declare(a="secret: a, expires_in: 30d, scopes: [events:read, events:write]"))

        def spoil(body: dict[str, Any]) -> None:
            unending(body)
            body["scopes"] = ["events:read"]

        wrap = asked_otherwise(spoil, "POST")
        if name == "crashed":
            dying = Wrapping(transport=wrap.transport, backend=backend(append=nth(4, die)).backend)
            assert crash(world, dying) == 77
            assert "recovery-pending" in [d.code for d in world.plan().diagnostics]
            assert world.apply(approve=lambda plan: False).declined
        else:
            assert not world.apply(wrap=wrap).failed
        current = world.state().keys["keys.a"].current
        states.append((current.spec, current.otherwise, current.created_at))
        assert [code for code in warned(world) if code == "granted-otherwise"] == ["granted-otherwise"] * 2
    assert states[0] == states[1]
    assert states[0][1] == ("expires_at", "scopes")


class RoundedWorld(World):
    """The embedded service behind a front that knows days only; its profile says so."""

    rounding = 1

    def open(self, wrap: Wrapping | None = None, variables: Mapping[str, str] | None = None) -> Workspace:
        ws = super().open(wrap, variables)
        declared = ws.config.services["sandbox"]
        expiry = replace(declared.profile.expiry, rounding=timedelta(days=self.rounding))
        services = {"sandbox": replace(declared, profile=replace(declared.profile, expiry=expiry))}
        ws.config = replace(ws.config, services=services)
        return ws


def to_the_day(body: dict[str, Any]) -> None:
    if body.get("expires_at"):
        body["expires_at"] = body["expires_at"][:10] + "T00:00:00Z"


@pytest.mark.parametrize("rounding", [1, 0])
@pytest.mark.parametrize("fields", ["expires_in: 30d", 'expires_at: "2026-12-24T18:00:00Z"'])
def test_rounding_that_the_profile_tells_is_no_drift(tmp_path: Path, rounding: int, fields: str) -> None:
    world = RoundedWorld(tmp_path, wrap=asked_otherwise(to_the_day, "POST", "PATCH"))
    world.rounding = rounding
    world.write(declare(a=f"secret: a, {fields}"))
    assert not world.apply().failed
    assert warned(world) == ([] if rounding else ["granted-otherwise"])
    assert world.plan().empty is bool(rounding)


@pytest.mark.parametrize("shift", [timedelta(milliseconds=-656), timedelta(seconds=40)])
def test_an_end_that_is_a_little_off_is_taken_as_it_is_shown(world: World, shift: timedelta) -> None:
    def shifted(body: dict[str, Any]) -> None:
        if body.get("expires_at"):
            ends = world.clock.now() + 30 * DAY + shift
            body["expires_at"] = ends.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    world.write(declare(a="secret: a, expires_in: 30d"))
    assert not world.apply(wrap=asked_otherwise(shifted, "POST")).failed
    assert warned(world) == []
    assert world.plan().empty
    assert world.state().keys["keys.a"].current.spec.expires_at == world.clock.now() + 30 * DAY + shift


# Services of vendors, which cannot change what they granted


class Vendor(Rules):
    """A vendor's stand-in, to which something is asked otherwise than keyform asks."""

    def __init__(self, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ROOT", ROOT)
        super().__init__(name, folder)
        self.well = self.world.wrap

    def spoil(self, spoil: Body) -> None:
        inner = StaysOpen(self.vendor.application)
        spoiled = asked_otherwise(spoil, "POST").transport
        self.world.wrap = Wrapping(transport=lambda _: spoiled(inner))

    def active(self) -> int:
        self.world.wrap = self.well
        return len(self.live())


def test_a_key_with_another_end_is_replaced_and_the_plan_says_who_did_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devtune = Vendor("devtune", tmp_path, monkeypatch)
    world = devtune.declare(
        "projects: {acme: {service: it}}\n"
        "keys: {contractor: {service: it, project: acme, name: c, scopes: [visibility.read], "
        "expires_in: 30d, secret: c}}\n"
    )
    devtune.spoil(unending)
    for _ in range(2):
        assert not world.apply().failed
        assert warned(world) == ["granted-otherwise"]
        world.told.clear()
        (change,) = world.plan().changes
        assert change.action == "replace"
        assert (
            "it granted expires_in otherwise than keyform last asked for, and may do so again"
            in change.reason
        )
        assert "changed in the configuration" not in change.reason
    world.wrap = devtune.well
    assert not world.apply().failed
    assert world.plan().empty
    assert devtune.active() == 1


def test_a_full_key_is_not_stored_where_a_reading_one_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revenium = Vendor("revenium", tmp_path, monkeypatch)
    world = revenium.declare("keys: {audit: {service: it, kind: read-only, name: Audit, secret: audit}}\n")
    revenium.spoil(lambda body: body.update(kind="write"))
    outcome = world.apply()
    assert "it minted a key of kind write where read-only was asked for" in summaries(outcome)
    assert codes(outcome) == ["granted-otherwise", "mint-undone"]
    assert not world.state().keys
    with world.open() as ws:
        assert ws.store("local").get(Place("local", "audit")) is None
    assert revenium.active() == 0


@pytest.mark.parametrize("lie", ["lol", "rev_mk_abc_0123456789abcdef", ""])
def test_a_secret_that_is_none_of_its_kind_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    revenium = Vendor("revenium", tmp_path, monkeypatch)
    world = revenium.declare("keys: {audit: {service: it, kind: read-only, name: Audit, secret: audit}}\n")
    inner = StaysOpen(revenium.vendor.application)
    given: list[str] = []

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        response = send(request)
        if request.method != "POST" or request.url.path != "/v1/keys":
            return response
        body = json.loads(response.read())
        given.append(body["secret"])
        body["secret"] = lie or "rev_wk_" + body["secret"]
        return httpx.Response(response.status_code, json=body)

    spoiled = requests(answer).transport
    world.wrap = Wrapping(transport=lambda _: spoiled(inner))
    outcome = world.apply()
    assert codes(outcome) == ["service", "mint-undone"]
    text = summaries(outcome)
    assert "is not one of such a key" in text
    assert "begins with rev_rk_" in text
    assert ("looks like a key of kind metering-only" in text) is lie.startswith("rev_mk_")
    assert given
    assert given[0] not in text
    assert not lie or lie == "lol" or lie not in text
    assert revenium.active() == 0
    assert not world.state().keys


def test_a_service_whose_clock_is_off_grants_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts the span from its own clock, ten minutes ahead, and says when it made the key."""
    devtune = Vendor("devtune", tmp_path, monkeypatch)
    ahead = timedelta(minutes=10)
    inner = StaysOpen(devtune.vendor.application)

    def off(response: httpx.Response) -> httpx.Response:
        body = json.loads(response.read())
        for key in [body.get("key"), *body.get("data", [])]:
            for field in ("created_at", "expires_at"):
                if isinstance(key, dict) and key.get(field):
                    moment = devtune.clock.now().fromisoformat(key[field]) + ahead
                    key[field] = moment.isoformat().replace("+00:00", "Z")
        return httpx.Response(response.status_code, json=body)

    world = devtune.declare(
        "projects: {acme: {service: it}}\n"
        "keys: {c: {service: it, project: acme, name: c, scopes: [visibility.read], expires_in: 30d, "
        "secret: c}}\n"
    )
    world.wrap = Wrapping(
        transport=lambda _: httpx.MockTransport(lambda request: off(inner.handle_request(request)))
    )
    assert not world.apply().failed
    assert warned(world) == []
    for days in (0, 10):
        devtune.clock.move(days=days)
        assert world.plan().empty
