"""Conditional writes: what came to be in a place after it was looked at is never overwritten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.errors import PlanError, StoreError
from keyform.model import Place, Secret
from keyform.state import dump_state, load_state
from tests.apply.outside import (
    codes,
    crash,
    declare,
    die,
    journal_is_empty,
    requests,
    stores,
    summaries,
    warned,
)
from tests.world import World, inspect
from tests.write_only import write_only

UNREAD = Wrapping(store=write_only("local"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def somebody_writes(world: World, path: str, text: str = "somebody else's") -> Wrapping:
    """Just before the service mints, after every check."""

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        if (request.method, request.url.path) == ("POST", "/v1/keys"):
            write(world, path, text)
        return send(request)

    return requests(answer)


def write(world: World, path: str, text: str) -> None:
    with world.open(Wrapping()) as ws:
        ws.store("local").put(Place("local", path), Secret(text), {})


def held(world: World, path: str) -> str | None:
    with world.open(Wrapping()) as ws:
        value = ws.store("local").get(Place("local", path))
        return value.reveal() if value else None


@pytest.mark.parametrize("unread", [False, True], ids=["readable", "write-only"])
def test_a_value_that_comes_between_is_left_and_the_mint_undone(world: World, unread: bool) -> None:
    world.write(declare("a", "b"))
    wrap = somebody_writes(world, "a")
    outcome = world.apply(wrap=replace(wrap, store=UNREAD.store) if unread else wrap)
    assert codes(outcome) == ["place-taken", "mint-undone"]
    assert "--overwrite-secrets" in outcome.failed[0].detail
    assert held(world, "a") == "somebody else's"
    assert {key.spec.name for key in world.live().values()} == {"b"}
    assert journal_is_empty(world)


@pytest.mark.parametrize("unread", [False, True], ids=["readable", "write-only"])
def test_a_value_that_comes_between_a_replacement_is_left_too(world: World, unread: bool) -> None:
    store = UNREAD.store if unread else Wrapping().store
    world.write(declare(a="environment: live, secret: a")).apply(wrap=Wrapping(store=store))
    world.write(declare(a="environment: test, secret: a"))
    outcome = world.apply(wrap=replace(somebody_writes(world, "a"), store=store))
    assert codes(outcome) == ["place-taken", "mint-undone"]
    assert held(world, "a") == "somebody else's"
    (key,) = world.live().values()
    assert key.spec.environment == "live"


def test_overwriting_is_for_whoever_asks_for_it(world: World) -> None:
    world.write(declare("a"))
    write(world, "a", "somebody else's")
    assert not world.apply(wrap=somebody_writes(world, "a", "and again"), overwrite=True).failed
    assert not inspect(world)


def test_a_foreign_value_that_was_to_be_overwritten_comes_back_if_the_mint_fails(world: World) -> None:
    world.write(declare("a"))
    write(world, "a", "somebody else's")

    def unlucky(real: Any, *args: Any) -> Any:
        real(*args)
        raise StoreError("the answer was lost")

    blind = iter([True])

    def get(real: Any, *args: Any) -> Any:
        value = real(*args)
        if value is not None and value.reveal() != "somebody else's" and next(blind, False):
            raise StoreError("cannot read now")
        return value

    first = iter([unlucky])

    def put(real: Any, *args: Any) -> Any:
        return next(first, lambda real, *args: real(*args))(real, *args)

    assert "mint-undone" in codes(world.apply(wrap=stores(put=put, get=get), overwrite=True))
    assert held(world, "a") == "somebody else's"


def test_the_state_knows_the_version_of_each_write(world: World) -> None:
    world.write(declare("a")).apply()
    with world.open(Wrapping()) as ws:
        found = ws.store("local").look(Place("local", "a"))
    state = world.state()
    current = state.keys["keys.a"].current
    assert found is not None
    assert current.version_at(Place("local", "a")) == found.version is not None
    again = load_state(dump_state(state), "state")
    assert again.keys["keys.a"].current.versions == current.versions
    older = dump_state(state).replace(f', "version": "{found.version}"'.encode(), b"")
    assert load_state(older, "state").keys["keys.a"].current.versions == ()


def test_a_moved_secret_has_the_version_of_its_new_place(world: World) -> None:
    world.write(declare(a="secret: old")).apply()
    world.write(declare(a="secret: new")).apply()
    with world.open(Wrapping()) as ws:
        found = ws.store("local").look(Place("local", "new"))
    assert found is not None
    assert world.state().keys["keys.a"].current.versions == ((Place("local", "new"), found.version),)


def test_a_new_key_costs_its_store_one_write_and_two_reads(world: World) -> None:
    """One look before anything is minted, and one at what arrived."""
    calls: list[str] = []

    def counted(name: str) -> Any:
        def hook(real: Any, place: Place, *args: Any) -> Any:
            if "canary" not in place.path:
                calls.append(name)
            return real(place, *args)

        return hook

    world.write(declare("a")).apply(wrap=stores(**{n: counted(n) for n in ("get", "look", "put", "delete")}))
    assert calls == ["get", "put", "get"]


# a store that cannot be read


def test_keys_live_in_a_store_that_cannot_be_read(world: World) -> None:
    world.write(declare("b", a="environment: live, secret: a")).apply(wrap=UNREAD)
    assert not inspect(world)
    world.write(declare("b", a="environment: test, secret: a"))
    assert not world.apply(wrap=UNREAD).failed
    assert not inspect(world)
    world.write(declare("b"))
    assert not world.apply(wrap=UNREAD).failed
    assert held(world, "a") is None
    assert not inspect(world)


def test_what_was_changed_in_a_store_that_cannot_be_read_is_neither_overwritten_nor_erased(
    world: World,
) -> None:
    world.write(declare("b", a="environment: live, secret: a")).apply(wrap=UNREAD)
    write(world, "a", "somebody else's")
    world.write(declare("b", a="environment: test, secret: a"))
    with pytest.raises(PlanError, match="changed since keyform wrote it"):
        world.apply(wrap=UNREAD)
    world.write(declare("b"))
    world.apply(wrap=UNREAD)
    assert held(world, "a") == "somebody else's"


def test_after_a_crash_what_cannot_be_read_counts_as_not_stored(world: World) -> None:
    """The secret is there, with the receipt and without the event; nothing shows that it is the right one."""
    world.write(declare("a"))

    def put_and_die(real: Any, place: Place, *args: Any) -> Any:
        done = real(place, *args)
        return die() if place.path == "a" else done

    wrap = Wrapping(store=lambda store: stores(put=put_and_die).store(UNREAD.store(store)))
    assert crash(world, wrap) == 77
    assert len(world.live()) == 1
    assert not world.apply(wrap=UNREAD).failed
    assert not inspect(world)
    assert "never stored" in "\n".join(e["what"] for e in world.told if e["type"] == "recovered")
    assert world.plan().empty


@pytest.mark.parametrize("unread", [False, True], ids=["readable", "write-only"])
def test_what_is_written_while_a_secret_is_erased_is_left(world: World, unread: bool) -> None:
    """Between the look at the value and its deletion."""
    store = UNREAD.store if unread else Wrapping().store
    world.write(declare("b", a="secret: a")).apply(wrap=Wrapping(store=store))

    def delete(real: Any, place: Place, *args: Any) -> Any:
        if place.path == "a":
            write(world, "a", "somebody else's")
        return real(place, *args)

    world.write(declare("b"))
    hooked = Wrapping(store=lambda inner: stores(delete=delete).store(store(inner)))
    assert not world.apply(wrap=hooked).failed
    assert held(world, "a") == "somebody else's"
    assert "value-left" in warned(world)


def test_what_is_written_while_a_mint_is_undone_is_left(world: World) -> None:
    world.write(declare(a="secret: [a, b]"))

    def put(real: Any, place: Place, *args: Any) -> Any:
        if place.path == "b":
            raise StoreError("no room")
        return real(place, *args)

    def delete(real: Any, place: Place, *args: Any) -> Any:
        if place.path == "a":
            write(world, "a", "somebody else's")
        return real(place, *args)

    assert codes(world.apply(wrap=stores(put=put, delete=delete))) == ["store", "mint-undone"]
    assert held(world, "a") == "somebody else's"
    assert world.live() == {}


def test_stores_are_closed_with_their_workspace(world: World) -> None:
    closed = []

    def close(real: Any) -> None:
        closed.append(1)
        real()

    world.write(declare("a")).apply(wrap=stores(close=close))
    assert closed == [1]
    assert summaries(world.apply()) == ""
