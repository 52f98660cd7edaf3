"""Creates whose outcome nobody knows: they may still be carried out, or were answered with something else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.apply import Workspace, Wrapping
from keyform.errors import ServiceError
from keyform.model import KeySpec
from keyform.ports import ANSWER_TIMEOUT
from keyform.profile import Profile
from tests.apply.outside import backend, codes, crash, declare, die, journal_is_empty, nth, requests
from tests.world import MovedClock, World, inspect


class InFlight:
    """Creates that left the client and have not reached the service. They survive the client's death."""

    def __init__(self, world: World, die_after: bool) -> None:
        self._world, self._die = world, die_after
        self._file = world.folder / "in-flight"

    def wrap(self) -> Wrapping:
        def answer(request: httpx.Request, send: Any) -> httpx.Response:
            if (request.method, request.url.path) != ("POST", "/v1/keys"):
                return send(request)  # type: ignore[no-any-return]
            kept = {
                "headers": dict(request.headers),
                "body": request.read().decode(),
                "url": str(request.url),
            }
            self._file.write_text(json.dumps(kept))
            if self._die:
                die()
            raise httpx.ReadTimeout("no answer", request=request)

        return requests(answer)

    def arrive(self) -> int:
        """Now it reaches the service; the status that nobody reads any more."""
        kept = json.loads(self._file.read_text())
        status = []

        def answer(request: httpx.Request, send: Any) -> httpx.Response:
            # The embedded service has another credential each time it is opened.
            headers = kept["headers"] | {"authorization": request.headers["authorization"]}
            status.append(send(httpx.Request("POST", kept["url"], headers=headers, content=kept["body"])))
            return send(request)  # type: ignore[no-any-return]

        with self._world.open(requests(answer)) as ws:
            ws.service("sandbox").own_key()
        return int(status[0].status_code)


class OtherProfile(World):
    """The embedded service, described by another profile."""

    parts: Mapping[str, Any] = {}

    def open(self, wrap: Wrapping | None = None, variables: Mapping[str, str] | None = None) -> Workspace:
        ws = super().open(wrap, variables)
        declared = ws.config.services["sandbox"]
        profile: Profile = replace(declared.profile, **self.parts)
        ws.config = replace(ws.config, services={"sandbox": replace(declared, profile=profile)})
        return ws


def finishes(world: World) -> None:
    assert not world.apply().failed
    assert not inspect(world)
    assert world.plan().empty


@pytest.mark.parametrize("expires", ["", ", expires_in: 90d"])
def test_a_create_that_arrives_after_the_recovery_is_a_repetition(world: World, expires: str) -> None:
    world.write(declare(a=f"secret: a{expires}"))
    flight = InFlight(world, die_after=True)
    assert crash(world, flight.wrap()) == 77
    world.clock.move(seconds=7)
    finishes(world)
    assert flight.arrive() == 200
    assert not inspect(world)


def test_a_create_that_arrives_before_the_recovery_is_found_and_revoked(world: World) -> None:
    world.write(declare("a"))
    flight = InFlight(world, die_after=True)
    assert crash(world, flight.wrap()) == 77
    assert flight.arrive() == 201
    finishes(world)


def test_a_create_that_arrives_after_the_run_that_gave_it_up_is_a_repetition(world: World) -> None:
    """The process lives: every attempt times out, and so does the one that claims the key."""
    world.write(declare("a"))
    flight = InFlight(world, die_after=False)
    outcome = world.apply(wrap=flight.wrap())
    assert codes(outcome) == ["answer-lost", "answer-lost", "unsettled"]
    assert not journal_is_empty(world)
    finishes(world)
    assert flight.arrive() == 200
    assert not inspect(world)


def test_a_mint_that_was_never_sent_is_dropped_without_a_look_at_the_service(world: World) -> None:
    world.write(declare("a", "b"))
    assert crash(world, backend(append=nth(2, die))) == 77
    seen = []

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        seen.append((request.method, request.url.path))
        return send(request)  # type: ignore[no-any-return]

    assert not world.apply(wrap=requests(answer)).failed
    assert seen.count(("GET", "/v1/keys")) == 1
    assert seen.count(("POST", "/v1/keys")) == 2
    assert [e["type"] for e in world.told if e["type"] == "recovered"] == []
    assert not inspect(world)


def test_a_claim_that_gets_no_answer_keeps_the_journal(world: World) -> None:
    world.write(declare("a"))
    flight = InFlight(world, die_after=True)
    assert crash(world, flight.wrap()) == 77

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        if request.method == "POST":
            raise httpx.ReadTimeout("no answer", request=request)
        return send(request)  # type: ignore[no-any-return]

    with pytest.raises(ServiceError, match="no answer came"):
        world.apply(wrap=requests(answer))
    assert not journal_is_empty(world)
    finishes(world)


class Arriving(MovedClock):
    """A create arrives while somebody sleeps."""

    flight: InFlight | None = None

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.flight is not None and seconds >= ANSWER_TIMEOUT.total_seconds():
            flight, self.flight = self.flight, None
            assert flight.arrive() == 201


def test_where_creates_are_not_recognised_again_recovery_waits_until_none_can_come(tmp_path: Path) -> None:
    clock = Arriving()
    world = OtherProfile(tmp_path, clock).write(declare("a"))
    world.parts = {"idempotent": False, "list_lag": timedelta(seconds=20)}
    clock.flight = InFlight(world, die_after=True)
    assert crash(world, clock.flight.wrap()) == 77
    finishes(world)
    assert clock.flight is None
    assert len(world.live()) == 1
    assert clock.slept >= ANSWER_TIMEOUT.total_seconds() + 20


def test_a_claim_that_is_refused_waits_likewise(world: World) -> None:
    """The create's expiry, for one, is over by the time of the recovery."""
    clock = world.clock = Arriving()
    world.write(declare(a="secret: a, expires_in: 1h"))
    flight = InFlight(world, die_after=True)
    assert crash(world, flight.wrap()) == 77
    clock.move(hours=2)
    finishes(world)
    assert clock.slept == ANSWER_TIMEOUT.total_seconds()


@pytest.mark.parametrize("hours", [-5, 0, 5], ids=["behind", "right", "ahead"])
@pytest.mark.parametrize("lag", [0, 60])
def test_recovery_waits_no_longer_than_the_lag_whatever_the_clock_says(
    tmp_path: Path, hours: int, lag: int
) -> None:
    world = OtherProfile(tmp_path).write(declare("a"))
    world.parts = {"list_lag": timedelta(seconds=lag)}
    assert crash(world, InFlight(world, die_after=True).wrap()) == 77
    world.clock.move(hours=hours)
    world.apply()
    assert world.clock.slept == (lag if hours <= 0 else 0)
    assert [key.spec.name for key in world.live().values()] == ["a"]


# answers about another key


def foreign(world: World) -> str:
    spec = KeySpec(kind="secret", environment="live", name="theirs", scopes=("events:write",))
    return world.service().create(spec, "other/1").key.id


def answered_with(key_id: str, secret: str | None, carry_out: bool) -> Wrapping:
    """Creates are answered with another key's data."""

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        if (request.method, request.url.path) != ("POST", "/v1/keys"):
            return send(request)  # type: ignore[no-any-return]
        if carry_out:
            send(request)
        headers = {k: v for k, v in request.headers.items() if k not in ("content-length", "content-type")}
        shown = send(httpx.Request("GET", f"{request.url}/{key_id}", headers=headers))
        return httpx.Response(201, json={"key": json.loads(shown.read()), "secret": secret})

    return requests(answer)


@pytest.mark.parametrize("carry_out", [False, True])
@pytest.mark.parametrize("secret", [None, "sk_live_aaaaaaaa_" + "x" * 20])
def test_a_key_without_the_label_that_was_sent_is_left_alone(
    world: World, secret: str | None, carry_out: bool
) -> None:
    world.write(declare("a"))
    theirs = foreign(world)
    outcome = world.apply(wrap=answered_with(theirs, secret, carry_out))
    assert "answer-lost" in codes(outcome)
    assert "does not carry the label" in outcome.failed[0].summary
    assert theirs in world.live()
    assert world.state().keys == {}
    assert not world.apply().failed
    assert not inspect(world, frozenset({"theirs"}))


def test_a_key_that_the_state_knows_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    """Where keys carry no label, only the id can tell."""
    world = OtherProfile(tmp_path).write(declare("old"))
    world.parts = {"marks": False}
    assert not world.apply().failed
    (old,) = world.live()
    world.write(declare("old", "new"))
    outcome = world.apply(wrap=answered_with(old, "sk_live_aaaaaaaa_" + "x" * 20, carry_out=False))
    assert "was there before" in outcome.failed[0].summary
    assert old in world.live()
    finishes(world)


def test_two_creates_answered_with_one_id_are_not_both_believed(world: World) -> None:
    world.write(declare("a", "b"))
    spec = KeySpec(kind="secret", environment="live", name="theirs", scopes=("events:write",))
    other = world.service().create(spec, "other/1")
    assert other.secret is not None
    secret = other.secret.reveal()

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        response = send(request)
        if (request.method, request.url.path) != ("POST", "/v1/keys"):
            return response  # type: ignore[no-any-return]
        body = json.loads(response.read())
        return httpx.Response(201, json={"key": {**body["key"], "id": other.key.id}, "secret": secret})

    outcome = world.apply(wrap=requests(answer))
    assert outcome.done == 1
    assert any("was there before" in diagnostic.summary for diagnostic in outcome.failed)
    ids = [record.current.id for record in world.state().keys.values()]
    assert ids == [other.key.id]


@pytest.mark.parametrize("text", ["sk_live_aaaaaaaa_x\nFOO=CANARY", "sk_live_\u00e4\u00e4\u00e4\u00e4CANARY"])
def test_a_secret_that_no_header_can_hold_is_not_kept_and_not_shown(world: World, text: str) -> None:
    world.write(declare("a"))

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        response = send(request)
        if (request.method, request.url.path) != ("POST", "/v1/keys"):
            return response  # type: ignore[no-any-return]
        return httpx.Response(201, json={**json.loads(response.read()), "secret": text})

    outcome = world.apply(wrap=requests(answer))
    assert outcome.failed
    assert "CANARY" not in f"{outcome.failed}"
    assert world.live() == {}


def test_a_secret_beyond_all_measure_is_refused(world: World) -> None:
    world.write(declare("a"))

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        response = send(request)
        if (request.method, request.url.path) != ("POST", "/v1/keys"):
            return response  # type: ignore[no-any-return]
        return httpx.Response(201, json={**json.loads(response.read()), "secret": "x" * (1 << 20)})

    outcome = world.apply(wrap=requests(answer))
    assert "a secret of 1,048,576 bytes" in outcome.failed[0].summary
    finishes(world)


def test_a_secret_that_proves_to_be_another_keys_is_not_kept(world: World) -> None:
    world.write(declare("a"))
    spec = KeySpec(kind="secret", environment="live", name="theirs", scopes=("events:write",))
    theirs = world.service().create(spec, "other/1")
    assert theirs.secret is not None

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        response = send(request)
        if (request.method, request.url.path) != ("POST", "/v1/keys"):
            return response  # type: ignore[no-any-return]
        body = json.loads(response.read())
        assert theirs.secret is not None
        return httpx.Response(201, json={**body, "secret": theirs.secret.reveal()})

    outcome = world.apply(wrap=requests(answer))
    assert codes(outcome) == ["service", "mint-undone"]
    assert f"is that of {theirs.key.id}" in outcome.failed[0].summary
    assert set(world.live()) == {theirs.key.id}
    assert journal_is_empty(world)


@pytest.mark.parametrize("status", [408, 425, 499, 500, 501, 520])
def test_a_create_that_timed_out_somewhere_may_have_been_carried_out(world: World, status: int) -> None:
    lost = []

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        response = send(request)
        if (request.method, request.url.path) == ("POST", "/v1/keys") and len(lost) < 5:
            lost.append(1)
            return httpx.Response(status, json={"error": {"code": "timeout", "message": "too long"}})
        return response  # type: ignore[no-any-return]

    world.write(declare("a"))
    world.apply(wrap=requests(answer))
    assert lost
    finishes(world)
