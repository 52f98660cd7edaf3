"""Two spellings of one place: the only copy of a secret is never erased."""

from __future__ import annotations

from typing import Any

import pytest

from keyform.apply import Wrapping
from keyform.model import Place, Secret
from keyform.ports import Held
from tests.apply.outside import codes, crash, declare, die, failing, stores, summaries, warned
from tests.world import World

ALIAS = "-again"


class OnePlace:
    """A store to which a path with ``-again`` is the path without. It numbers no writes."""

    def __init__(self, inner: Any, die_after: str = "") -> None:
        self._inner, self._die_after = inner, die_after

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name not in ("look", "get", "put", "delete"):
            return value

        def call(place: Place, *args: Any) -> Any:
            found = value(Place(place.store, place.path.removesuffix(ALIAS)), *args)
            if name == self._die_after and not place.path.startswith("keyform-canary"):
                die()
            if name == "look":
                return found and Held()
            return None if name == "put" else found

        return call


def one_place(**how: str) -> Wrapping:
    return Wrapping(store=lambda inner: OnePlace(inner, **how))


def held(world: World, path: str = "old") -> str | None:
    with world.open(Wrapping()) as ws:
        value: Secret | None = ws.store("local").get(Place("local", path))
        return value.reveal() if value else None


@pytest.fixture
def one(world: World) -> World:
    world.wrap = one_place()
    world.write(declare(a="secret: old")).apply()
    return world


def settled(world: World, *paths: str) -> bool:
    """Whether the state knows these places and no others, and there is nothing to do."""
    current = world.state().keys["keys.a"].current
    return [p.path for p in current.written] == list(paths) and world.plan().empty


def test_a_move_to_another_spelling_of_the_same_place_erases_nothing(one: World) -> None:
    before = held(one)
    one.write(declare(a=f"secret: old{ALIAS}"))
    assert not one.apply().failed
    assert warned(one) == ["one-place"]
    assert held(one) == before is not None
    assert settled(one, f"old{ALIAS}")


def test_it_is_seen_before_anything_is_erased(one: World) -> None:
    before = held(one)
    one.write(declare(a=f"secret: old{ALIAS}"))
    assert crash(one, one_place(die_after="delete")) == 0
    assert held(one) == before


def test_so_does_a_move_by_a_saved_plan(one: World) -> None:
    before = held(one)
    one.write(declare(a=f"secret: old{ALIAS}"))
    assert not one.apply(plan=one.plan()).failed
    assert held(one) == before is not None


@pytest.mark.parametrize("method", ["put", "get", "look"])
def test_nor_does_the_run_after_a_crash(one: World, method: str) -> None:
    before = held(one)
    one.write(declare(a=f"secret: old{ALIAS}"))
    assert crash(one, one_place(die_after=method)) == 77
    assert held(one) == before
    assert not one.apply().failed
    assert held(one) == before is not None
    assert settled(one, f"old{ALIAS}")


def test_a_move_that_died_between_its_copy_and_its_record_erases_the_old_place(world: World) -> None:
    """The journal says that the copy was to a place that was empty, so the two are not one."""
    world.wrap = one_place()
    world.write(declare(a="secret: old")).apply()
    before = held(world)
    world.write(declare(a="secret: new"))
    assert crash(world, one_place(die_after="put")) == 77
    assert not world.apply().failed
    assert (held(world), held(world, "new")) == (None, before)
    assert warned(world) == ["lock-of-dead-process"]
    assert settled(world, "new")


def test_a_list_that_loses_one_of_two_spellings_keeps_the_secret(world: World) -> None:
    world.write(declare(a=f"secret: [old, old{ALIAS}]")).apply()
    before = held(world)
    with world.open() as ws:  # from now on, a link makes the two one place
        ws.store("local").delete(Place("local", f"old{ALIAS}"))
    world.wrap = one_place()
    world.write(declare(a="secret: old"))
    assert not world.apply().failed
    assert warned(world) == ["one-place"]
    assert held(world) == before is not None
    assert settled(world, "old")


def test_a_leftover_that_turns_out_to_be_the_new_place_keeps_the_secret(world: World) -> None:
    world.write(declare(a="secret: old")).apply()
    world.write(declare(a=f"secret: old{ALIAS}"))
    assert world.apply(wrap=stores(delete=failing("old"))).failed
    before = held(world)
    with world.open() as ws:
        ws.store("local").delete(Place("local", f"old{ALIAS}"))
    world.wrap = one_place()
    assert not world.apply().failed
    assert "one-place" in warned(world)
    assert held(world) == before is not None
    assert settled(world, f"old{ALIAS}")


def test_a_new_key_is_not_stored_in_one_place_by_two_names(world: World) -> None:
    world.wrap = one_place()
    world.write(declare(a=f"secret: [old, old{ALIAS}]"))
    outcome = world.apply()
    assert codes(outcome) == ["store", "mint-undone"]
    assert "are one place" in summaries(outcome)
    assert world.live() == {}
    assert held(world) is None


def test_a_place_that_held_the_value_before_is_told_apart_by_its_version(world: World) -> None:
    """Somebody copied it already: where the store numbers its writes, the two places are known to be two."""
    world.write(declare(a="secret: old")).apply()
    before = held(world)
    with world.open() as ws:
        ws.store("local").put(Place("local", "new"), Secret(before or ""), {})
    world.write(declare(a="secret: new"))
    assert not world.apply().failed
    assert warned(world) == []
    assert (held(world), held(world, "new")) == (None, before)


def test_a_new_key_may_take_another_spelling_of_the_old_ones_place(one: World) -> None:
    before = held(one)
    one.write(declare(a=f"environment: test, secret: old{ALIAS}"))
    assert not one.apply().failed
    assert held(one) not in (None, before)
    assert settled(one, f"old{ALIAS}")
