"""A write that nobody waits for any more, and that comes through after its key was ended again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keyform.apply import Wrapping
from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.state import dump_state, load_state
from tests.apply.outside import codes, crash, declare, die, journal_is_empty, stores
from tests.world import World, inspect

PLACE = Place("local", "a")
LIVE = declare(a="environment: live, secret: a")
TEST = declare(a="environment: test, secret: a")


def unanswered(late: list[Secret]) -> Callable[..., Any]:
    """A hook for ``put`` of which the first write to the key's place gets no answer."""

    def put(real: Any, place: Place, secret: Secret, *args: Any) -> Any:
        if place == PLACE and not late:
            late.append(secret)
            raise StoreError("no answer within 30 s", "The test says so.")
        return real(place, secret, *args)

    return put


def comes_through(world: World, secret: Secret) -> None:
    with world.open(Wrapping()) as ws:
        ws.store("local").put(PLACE, secret, {})


@pytest.mark.parametrize("replaced", [True, False], ids=["of a replacement", "of a first key"])
def test_a_late_write_is_known_as_keyforms_own(world: World, replaced: bool) -> None:
    if replaced:
        world.write(LIVE).apply()
    late: list[Secret] = []
    assert codes(world.write(TEST).apply(wrap=stores(put=unanswered(late)))) == ["store", "mint-undone"]
    comes_through(world, late[0])
    assert "place-taken" not in {diagnostic.code for diagnostic in world.plan().diagnostics}
    assert "foreign-value" not in {diagnostic.code for diagnostic in world.plan().diagnostics}
    assert not world.apply().failed
    assert not inspect(world)
    assert world.stored("keys.a") != late[0]
    assert world.state().undone == ()
    assert len(world.live()) == 1


def test_it_is_known_after_the_next_key_was_made_too(world: World) -> None:
    late: list[Secret] = []
    world.write(TEST).apply(wrap=stores(put=unanswered(late)))
    assert not world.apply().failed
    comes_through(world, late[0])
    (change,) = world.plan().changes
    assert "which is revoked" in change.reason
    assert not world.apply().failed
    assert not inspect(world)


def test_a_write_of_a_killed_run_that_comes_late_is_known_too(world: World) -> None:
    def put(real: Any, place: Place, secret: Secret, *args: Any) -> Any:
        if place != PLACE:
            return real(place, secret, *args)
        real(Place("local", "on-its-way"), secret, {})
        return die()

    world.write(LIVE).apply()
    assert crash(world.write(TEST), stores(put=put)) == 77
    assert not world.apply().failed
    with world.open(Wrapping()) as ws:
        late = ws.store("local").get(Place("local", "on-its-way"))
        ws.store("local").delete(Place("local", "on-its-way"))
    assert late is not None
    comes_through(world, late)
    assert not world.apply().failed
    assert not inspect(world)
    assert journal_is_empty(world)


def test_the_undo_writes_the_old_value_over_itself(world: World) -> None:
    """Which makes a version more where a store has them, so that a conditional write comes too late."""
    world.write(LIVE).apply()
    before = world.stored("keys.a")
    late: list[Secret] = []
    seen: list[tuple[Any, ...]] = []
    hook = unanswered(late)

    def put(real: Any, place: Place, *args: Any) -> Any:
        if place == PLACE:
            seen.append(args)
        return hook(real, place, *args)

    world.write(TEST).apply(wrap=stores(put=put))
    assert [(secret == before, over == before) for secret, _, over in seen] == [(False, True), (True, True)]
    assert world.stored("keys.a") == before


def test_a_state_keeps_what_was_undone_for_an_address_without_a_record(world: World) -> None:
    late: list[Secret] = []
    world.write(TEST).apply(wrap=stores(put=unanswered(late)))
    state = world.state()
    (undone,) = state.undone
    assert (undone.address, undone.number) == ("keys.a", 1)
    assert load_state(dump_state(state), "state").undone == state.undone
    assert late[0].reveal() not in dump_state(state).decode()


def test_a_write_that_was_refused_in_words_is_no_late_write(world: World) -> None:
    """Whoever came between is told, and the state does not change for it."""
    world.write(LIVE).apply()
    serial = world.state().serial

    def put(real: Any, place: Place, *args: Any) -> Any:
        if place == PLACE:
            comes_through(world, Secret("somebody else's"))
        return real(place, *args)

    assert codes(world.write(TEST).apply(wrap=stores(put=put))) == ["place-taken", "mint-undone"]
    assert world.state().serial == serial
