"""A move that fails or is given up leaves no copy of a live secret behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keyform.apply import Wrapping
from keyform.model import Place, Secret
from tests.apply.outside import codes, crash, declare, die, failing, journal_is_empty, stores
from tests.world import World, inspect


@pytest.fixture
def moving(tmp_path: Path) -> World:
    """A key that was stored at ``old`` and is to be at ``new`` and ``more``."""
    world = World(tmp_path).write(declare(a="secret: old"))
    world.apply()
    return world.write(declare(a="secret: [new, more]"))


def held(world: World, path: str) -> Secret | None:
    with world.open(Wrapping()) as ws:
        return ws.store("local").get(Place("local", path))


def put_and_die(real: Any, place: Place, *args: Any) -> Any:
    done = real(place, *args)
    return die() if place.path == "new" else done


def test_a_copy_that_fails_in_one_place_is_taken_out_of_the_others(moving: World) -> None:
    assert codes(moving.apply(wrap=stores(put=failing("more")))) == ["store"]
    assert held(moving, "new") is None
    assert not inspect(moving, frozenset())
    assert not moving.apply().failed
    assert not inspect(moving)


def test_what_a_failed_copy_was_allowed_to_overwrite_comes_back(moving: World) -> None:
    with moving.open(Wrapping()) as ws:
        ws.store("local").put(Place("local", "new"), Secret("somebody else's"), {})
    moving.apply(wrap=stores(put=failing("more")), overwrite=True)
    assert held(moving, "new") == Secret("somebody else's")


def test_a_copy_that_cannot_be_taken_back_is_told(moving: World) -> None:
    outcome = moving.apply(wrap=stores(put=failing("more"), delete=failing("new")))
    assert codes(outcome) == ["store", "copy-left"]
    assert "local:new" in outcome.failed[1].summary
    assert not moving.apply().failed
    assert not inspect(moving)


def test_a_copy_that_was_complete_before_is_not_taken_back(moving: World) -> None:
    moving.write(declare(a="secret: [old, new]")).apply()
    moving.write(declare(a="secret: [new, more]"))
    moving.apply(wrap=stores(put=failing("more")))
    assert held(moving, "new") == held(moving, "old") is not None


@pytest.mark.parametrize("declined", [False, True], ids=["at once", "after a plan that was declined"])
def test_a_move_that_is_given_up_after_a_crash_leaves_nothing(moving: World, declined: bool) -> None:
    assert crash(moving, stores(put=put_and_die)) == 77
    assert held(moving, "new") == held(moving, "old") is not None
    if declined:
        assert moving.apply(approve=lambda plan: False).declined
    moving.write(declare(a="secret: old"))
    assert not moving.apply().failed
    assert held(moving, "new") is None
    assert not inspect(moving)
    assert journal_is_empty(moving)


def test_a_move_that_goes_on_after_a_crash_comes_through(moving: World) -> None:
    plan = moving.plan()
    assert crash(moving, stores(put=put_and_die), plan) == 77
    assert not moving.apply(plan=plan).failed
    assert not inspect(moving)
    assert moving.plan().empty


def test_a_copy_that_is_the_last_one_is_not_taken_back(moving: World) -> None:
    assert crash(moving, stores(put=put_and_die)) == 77
    with moving.open(Wrapping()) as ws:
        ws.store("local").delete(Place("local", "old"))
    before = held(moving, "new")
    moving.apply()
    assert held(moving, "new") is not None
    assert before is not None
    assert not inspect(moving)


def test_what_somebody_put_where_a_crashed_copy_was_to_go_is_left(moving: World) -> None:
    assert crash(moving, stores(put=put_and_die)) == 77
    with moving.open(Wrapping()) as ws:
        ws.store("local").put(Place("local", "new"), Secret("somebody else's"), {})
    moving.write(declare(a="secret: old"))
    assert not moving.apply().failed
    assert held(moving, "new") == Secret("somebody else's")
