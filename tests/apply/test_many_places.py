"""One key, many places: it counts as stored when all of them hold it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keyform.apply import Wrapping
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.errors import StoreError
from keyform.model import Place, Secret
from tests.apply.outside import (
    codes,
    crash,
    declare,
    die,
    failing,
    journal_is_empty,
    nth,
    stores,
    summaries,
)
from tests.world import World, inspect
from tests.write_only import write_only

TWO = "stores: {local: {type: age}, second: {type: age, path: .keyform/second}}\ndefaults: {store: local}"
BOTH = "secret: [a, {store: second, path: b}]"
ONE, OTHER = Place("local", "a"), Place("second", "b")
UNREAD = Wrapping(store=write_only("second"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path).write(declare(a=BOTH, rest=TWO))


def held(world: World, place: Place) -> Secret | None:
    with world.open(Wrapping()) as ws:
        return ws.store(place.store).get(place)


def test_every_place_holds_the_secret(world: World) -> None:
    assert not world.apply().failed
    assert held(world, ONE) == held(world, OTHER) is not None
    assert world.state().keys["keys.a"].current.places == (ONE, OTHER)
    assert not inspect(world)
    assert world.plan().empty


def test_a_failure_in_one_names_it_and_undoes_the_others(world: World) -> None:
    outcome = world.apply(wrap=stores(put=failing("b")))
    assert codes(outcome) == ["store", "mint-undone"]
    assert "second:b" in summaries(outcome)
    assert world.live() == {}
    assert (held(world, ONE), held(world, OTHER)) == (None, None)
    assert journal_is_empty(world)
    assert not world.apply().failed
    assert not inspect(world)


def test_a_replacement_that_fails_in_one_brings_the_old_value_back_in_the_others(world: World) -> None:
    world.apply()
    before = held(world, ONE)
    world.write(declare(a=f"environment: test, {BOTH}", rest=TWO))
    assert "mint-undone" in codes(world.apply(wrap=stores(put=failing("b"))))
    assert held(world, ONE) == held(world, OTHER) == before
    (key,) = world.live().values()
    assert key.id == world.state().keys["keys.a"].current.id
    assert not world.apply().failed
    assert not inspect(world)


@pytest.mark.parametrize("number", [1, 2], ids=["after the first", "after the second"])
def test_a_crash_between_two_places_is_finished(world: World, number: int) -> None:
    """The key is alive and one place holds it, so the other gets it from there."""

    def put_and_die(real: Any, place: Place, *args: Any) -> Any:
        real(place, *args)
        die()

    puts: Any = nth(number, put_and_die)

    def put(real: Any, place: Place, *args: Any) -> Any:
        # The proofs of the stores write canaries before.
        return puts(real, place, *args) if place in (ONE, OTHER) else real(place, *args)

    assert crash(world, stores(put=put)) == 77
    (minted,) = world.live()
    assert not world.apply().failed
    assert list(world.live()) == [minted]
    assert not inspect(world)
    versions = dict(world.state().keys["keys.a"].current.versions)
    assert set(versions) == {ONE, OTHER}


def test_a_crash_before_a_place_that_was_taken_meanwhile_means_a_new_key(world: World) -> None:
    def put(real: Any, place: Place, *args: Any) -> Any:
        return die() if place == OTHER else real(place, *args)

    assert crash(world, stores(put=put)) == 77
    with world.open(Wrapping()) as ws:
        ws.store("second").put(OTHER, Secret("somebody else's"), {})
    world.write(declare(a="secret: a", rest=TWO))
    assert not world.apply().failed
    assert held(world, OTHER) == Secret("somebody else's")
    assert len(world.live()) == 1


def test_all_places_are_erased_with_the_key(world: World) -> None:
    world.apply()
    world.write(declare(rest=TWO))
    assert not world.apply().failed
    assert (held(world, ONE), held(world, OTHER)) == (None, None)


def test_a_place_more_gets_a_copy_and_one_less_is_erased(world: World) -> None:
    world.write(declare(a="secret: a", rest=TWO)).apply()
    before = held(world, ONE)
    world.write(declare(a=BOTH, rest=TWO))
    (change,) = world.plan().changes
    assert "its secret is copied to second:b" in change.reason
    assert not world.apply(plan=load_plan(dump_plan(world.plan()), "plan")).failed
    assert held(world, ONE) == held(world, OTHER) == before
    assert not inspect(world)
    world.write(declare(a="secret: {store: second, path: b}", rest=TWO))
    (change,) = world.plan().changes
    assert "its secret is no longer kept at local:a" in change.reason
    assert not world.apply(plan=load_plan(dump_plan(world.plan()), "plan")).failed
    assert (held(world, ONE), held(world, OTHER)) == (None, before)
    assert not inspect(world)


# one of the two cannot be read


def test_a_place_that_cannot_be_read_is_written_last(world: World) -> None:
    world.write(declare(a="secret: [{store: second, path: b}, a]", rest=TWO))
    order = []

    def put(real: Any, place: Place, *args: Any) -> Any:
        order.append(place)
        return real(place, *args)

    wrap = Wrapping(store=lambda store: stores(put=put).store(UNREAD.store(store)))
    assert not world.apply(wrap=wrap).failed
    assert [place for place in order if "canary" not in place.path] == [ONE, OTHER]
    assert not inspect(world)


def test_a_crash_is_finished_from_the_place_that_can_be_read(world: World) -> None:
    def put(real: Any, place: Place, *args: Any) -> Any:
        done = real(place, *args)
        return die() if place == OTHER else done

    assert crash(world, Wrapping(store=lambda store: stores(put=put).store(UNREAD.store(store)))) == 77
    (minted,) = world.live()
    assert not world.apply(wrap=UNREAD).failed
    assert list(world.live()) == [minted]
    assert not inspect(world)


def test_a_replacement_that_may_have_reached_an_unreadable_place_goes_forward(world: World) -> None:
    """Its old value cannot be brought back, so the new one is brought everywhere."""
    world.apply(wrap=UNREAD)
    world.write(declare(a=f"environment: test, {BOTH}", rest=TWO))
    lost = iter([True])

    def put(real: Any, place: Place, *args: Any) -> Any:
        done = real(place, *args)
        if place == OTHER and next(lost, False):
            raise StoreError("the answer was lost")
        return done

    wrap = Wrapping(store=lambda store: stores(put=put).store(UNREAD.store(store)))
    world.apply(wrap=wrap)
    assert {key.spec.environment for key in world.live().values()} <= {"live", "test"}
    assert not world.apply(wrap=UNREAD).failed
    assert not inspect(world)
    assert held(world, ONE) == held(world, OTHER)


def test_a_first_key_that_may_have_reached_an_unreadable_place_is_taken_out(world: World) -> None:
    def put(real: Any, place: Place, *args: Any) -> Any:
        real(place, *args)
        if place == OTHER:
            raise StoreError("the answer was lost")

    wrap = replace(UNREAD, store=lambda store: stores(put=put).store(UNREAD.store(store)))
    assert "mint-undone" in codes(world.apply(wrap=wrap))
    assert (held(world, ONE), held(world, OTHER)) == (None, None)
    assert world.live() == {}
