"""Recovery when the world is not as it was: services, stores and journals that are gone, broken or wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.errors import ServiceError, StateError, StoreError
from keyform.model import Place, Secret
from keyform.state import dump_state
from tests.apply.outside import (
    backend,
    crash,
    declare,
    die,
    journal_is_empty,
    nth,
    requests,
    stores,
    warned,
)
from tests.apply.test_services import half_listing
from tests.world import World, inspect


@pytest.fixture
def crashed(world: World) -> World:
    """keys.a is done; keys.b is minted and not stored."""
    world.write(declare("a", "b"))
    assert crash(world, stores(put=nth(2, die))) == 77
    assert len(world.live()) == 2
    return world


def finishes(world: World) -> None:
    assert not world.apply().failed
    assert not inspect(world)


def test_recovery_alone(crashed: World) -> None:
    finishes(crashed)


def test_a_service_that_cannot_be_reached_keeps_the_journal(crashed: World) -> None:
    def down(request: httpx.Request, send: Any) -> httpx.Response:
        raise httpx.ConnectError("down", request=request)

    with pytest.raises(ServiceError):
        crashed.apply(wrap=requests(down))
    assert not journal_is_empty(crashed)
    finishes(crashed)


def test_a_listing_that_is_not_whole_keeps_the_journal(crashed: World) -> None:
    with pytest.raises(ServiceError, match="whole listing"):
        crashed.apply(wrap=requests(half_listing))
    assert len(crashed.live()) == 2
    finishes(crashed)


def test_a_store_that_cannot_be_read_keeps_the_journal(crashed: World) -> None:
    def broken(*_: Any) -> Any:
        raise StoreError("sealed")

    with pytest.raises(StoreError):
        crashed.apply(wrap=stores(get=broken))
    assert len(crashed.live()) == 2
    finishes(crashed)


def test_a_service_that_is_no_longer_declared_is_asked_for(crashed: World) -> None:
    crashed.write("version: 1\nservices: {}\n")
    with pytest.raises(StateError, match="no longer declared"):
        crashed.apply()
    assert not journal_is_empty(crashed)
    crashed.write(declare("a", "b"))
    finishes(crashed)


def test_a_declaration_that_is_gone_by_now_leaves_nothing(crashed: World) -> None:
    crashed.write(declare())
    finishes(crashed)
    assert crashed.live() == {}


def test_a_key_that_somebody_revoked_meanwhile_is_minted_anew(crashed: World) -> None:
    for key in crashed.live():
        crashed.service().revoke(key)
    finishes(crashed)


def test_a_store_that_is_no_longer_declared_means_a_new_key(world: World) -> None:
    more = 'stores: {{{0}: {{type: age, path: ".keyform/{1}"}}}}'
    world.write(declare(a="secret: {store: one, path: a}", rest=more.format("one", "one")))
    # Dead when the event is written: minted, stored, and not committed.
    assert crash(world, backend(append=nth(4, die))) == 77
    world.write(declare(a="secret: {store: two, path: a}", rest=more.format("two", "two")))
    finishes(world)


def test_a_key_that_was_stored_is_kept(world: World) -> None:
    world.write(declare("a"))
    assert crash(world, backend(append=nth(4, die))) == 77
    (before,) = world.live()
    finishes(world)
    assert set(world.live()) == {before}


def test_a_value_that_is_kept_when_revoked_does_not_stay_of_a_key_that_never_came_to_be(world: World) -> None:
    """It would be a foreign value in the way of the next mint."""
    world.write(declare(a="secret: {path: a, on_revoke: keep}"))
    assert crash(world, backend(append=nth(4, die))) == 77
    (before,) = world.live()
    world.service().revoke(before)
    finishes(world)
    assert set(world.live()) != {before}


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_an_old_generation_outlives_a_crash_of_its_replacement(world: World, at: int) -> None:
    """Whenever the run dies, the place holds a secret that works before the next run has begun."""
    world.write(declare(a="secret: a, environment: live")).apply()
    world.write(declare(a="secret: a, environment: test"))
    assert crash(world, backend(append=nth(at, die))) == 77
    with world.open(Wrapping()) as ws:
        value = ws.store("local").get(Place("local", "a"))
    assert isinstance(value, Secret)
    assert any(world.works(value, key) for key in world.live().values())
    finishes(world)


def test_a_store_that_is_broken_for_good_does_not_block_for_the_sake_of_a_dead_key(crashed: World) -> None:
    def broken(*_: Any) -> Any:
        raise StoreError("sealed")

    for key in crashed.live():
        crashed.service().revoke(key)
    crashed.write(declare())
    crashed.apply(wrap=stores(get=broken))
    assert "value-left" in warned(crashed)
    assert journal_is_empty(crashed)


@pytest.mark.parametrize("stored", [False, True])
def test_of_several_keys_with_one_label_the_stored_one_is_kept(world: World, stored: bool) -> None:
    world.write(declare("a"))
    assert crash(world, backend(append=nth(4, die)) if stored else stores(put=die)) == 77
    (minted,) = world.live().values()
    assert minted.label is not None
    copy = world.service().create(minted.spec, minted.label + "copy").key

    def relabel(request: httpx.Request, send: Any) -> httpx.Response:
        answer = send(request)
        if (request.method, request.url.path) != ("GET", "/v1/keys"):
            return answer  # type: ignore[no-any-return]
        return httpx.Response(200, content=answer.read().replace(b"copy", b""))

    assert not world.apply(wrap=requests(relabel)).failed
    assert (minted.id in world.live()) == stored
    assert copy.id not in world.live()
    assert not inspect(world)


# the journal itself


def journal_file(world: World) -> Path:
    return world.folder / ".keyform" / "state.json.journal"


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[]",
        b"7",
        b'{"record": "unknown"}',
        b'{"record": "intent"}',
        b'{"record": "receipt", "marker": "nobody"}',
        b'{"record": "event", "index": 0, "event": {}}',
        b"\xff\xfe",
        b"[" * 200_000,
    ],
    ids=["text", "list", "number", "unknown", "intent", "receipt", "event", "bytes", "deep"],
)
def test_a_damaged_journal_stops_everything(crashed: World, line: bytes) -> None:
    file = journal_file(crashed)
    whole = file.read_bytes()
    file.write_bytes(whole + line + b"\n")
    with pytest.raises(StateError, match="damaged"):
        crashed.apply()
    with pytest.raises(StateError, match="damaged"):
        crashed.plan()
    assert len(crashed.live()) == 2
    file.write_bytes(whole)
    finishes(crashed)


@pytest.mark.parametrize("version", [2, None, "1", True, 0.5])
def test_a_journal_of_another_version_stops_everything(crashed: World, version: object) -> None:
    file = journal_file(crashed)
    whole = file.read_bytes()
    first, rest = whole.split(b"\n", 1)
    file.write_bytes(json.dumps(json.loads(first) | {"version": version}).encode() + b"\n" + rest)
    with pytest.raises(StateError, match="version"):
        crashed.apply()
    with pytest.raises(StateError, match="version"):
        crashed.plan()
    assert len(crashed.live()) == 2
    file.write_bytes(whole)
    finishes(crashed)


def test_an_event_that_this_keyform_does_not_know_is_not_thrown_away(world: World) -> None:
    world.write(declare("a"))
    assert crash(world, backend(write=die)) == 77
    file = journal_file(world)
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"kind":"minted"', b'"kind":"minted2"'))
    with pytest.raises(StateError, match="minted2"):
        world.apply()
    file.write_bytes(whole)
    finishes(world)


def test_a_torn_last_line_is_no_damage(crashed: World) -> None:
    file = journal_file(crashed)
    file.write_bytes(file.read_bytes() + b'{"record": "rece')
    finishes(crashed)


def test_a_journal_of_another_state_stops_everything(world: World, crashed: World) -> None:
    from keyform.state import State

    (crashed.folder / ".keyform" / "state.json").write_bytes(dump_state(State("another", 1)))
    with pytest.raises(StateError, match="another state"):
        crashed.apply()
    assert len(crashed.live()) == 2
    (crashed.folder / ".keyform" / "state.json").unlink()
    finishes(crashed)


def test_no_secret_is_in_the_journal(crashed: World) -> None:
    secret = crashed.folder / ".keyform" / "state.json.journal"
    with crashed.open(Wrapping()) as ws:
        value = ws.store("local").get(Place("local", "a"))
    assert value is not None
    assert value.reveal().encode() not in secret.read_bytes()
