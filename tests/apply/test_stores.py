"""Store failures: nothing is minted, or what was minted is revoked in the same run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keyform.apply import Wrapping
from keyform.apply.execute import HELD_BACK
from keyform.errors import PlanError, StoreError
from keyform.model import Place, Secret
from tests.apply.outside import (
    Hooked,
    backend,
    codes,
    crash,
    declare,
    die,
    failing,
    journal_is_empty,
    nth,
    refuse,
    requests,
    stores,
    summaries,
    warned,
)
from tests.world import World, inspect


def put(world: World, path: str, text: str) -> None:
    with world.open(Wrapping()) as ws:
        ws.store("local").put(Place("local", path), Secret(text), {})


def held(world: World, path: str) -> str | None:
    with world.open(Wrapping()) as ws:
        value = ws.store("local").get(Place("local", path))
        return value.reveal() if value else None


def broken(*_: Any) -> Any:
    raise StoreError("the store is broken", "The test says so.")


def test_a_store_that_fails_its_proof_lets_nothing_be_minted(world: World) -> None:
    world.write(declare("a", "b"))
    with pytest.raises(StoreError, match="broken"):
        world.apply(wrap=stores(probe=broken))
    assert world.live() == {}
    assert journal_is_empty(world)
    assert not world.apply().failed


def test_a_key_that_cannot_be_stored_is_revoked_and_the_others_go_on(world: World) -> None:
    world.write(declare("a", "b", "c"))
    outcome = world.apply(wrap=stores(put=failing("b")))
    assert (outcome.done, codes(outcome)) == (2, ["store", "mint-undone"])
    assert {key.spec.name for key in world.live().values()} == {"a", "c"}
    assert journal_is_empty(world)
    assert world.apply().done == 1
    assert not inspect(world)


def test_a_write_whose_answer_was_lost_counts(world: World) -> None:
    def lost(real: Any, *args: Any) -> Any:
        real(*args)
        raise StoreError("the answer was lost")

    world.write(declare("a"))
    assert not world.apply(wrap=stores(put=lost)).failed
    assert not inspect(world)


def test_what_does_not_read_back_is_not_stored(world: World) -> None:
    def elsewhere(real: Any, place: Place, *args: Any) -> Any:
        return real(Place(place.store, place.path + "-elsewhere"), *args)

    world.write(declare("a"))
    outcome = world.apply(wrap=stores(put=elsewhere))
    assert "does not read back" in summaries(outcome)
    assert world.live() == {}
    assert journal_is_empty(world)


@pytest.fixture
def replaced(world: World) -> World:
    """One key, with an edit pending that needs a new one at the same place."""
    world.write(declare(a="environment: live, secret: a")).apply()
    world.write(declare(a="environment: test, secret: a"))
    return world


def still_the_old_one(world: World, value: str | None) -> None:
    (key,) = world.live().values()
    assert key.spec.environment == "live"
    assert held(world, "a") == value
    assert world.works(Secret(value or ""), key)
    assert world.state().keys["keys.a"].current.id == key.id


def test_a_replacement_that_cannot_be_stored_leaves_the_old_one(replaced: World) -> None:
    before = held(replaced, "a")
    assert replaced.apply(wrap=stores(put=failing("a"))).failed
    still_the_old_one(replaced, before)


def test_a_replacement_that_fails_its_proof_leaves_the_old_one(replaced: World) -> None:
    import httpx

    def answer(request: Any, send: Any) -> Any:
        if request.url.path == "/v1/verify":
            return httpx.Response(401, json={"error": {"code": "invalid_api_key", "message": "no"}})
        return send(request)

    before = held(replaced, "a")
    assert "mint-undone" in codes(replaced.apply(wrap=requests(answer)))
    still_the_old_one(replaced, before)


def test_a_replacement_that_was_written_and_cannot_be_read_back_brings_the_old_value_back(
    replaced: World,
) -> None:
    """The write is carried out and its answer is lost, and so is that of the look after it."""
    before = held(replaced, "a")
    written = []

    def lost(real: Any, *args: Any) -> Any:
        real(*args)
        if not written:
            written.append(1)
            raise StoreError("the answer was lost")

    def blind(real: Any, *args: Any) -> Any:
        if len(written) == 1:
            written.append(2)
            raise StoreError("cannot read now")
        return real(*args)

    assert "mint-undone" in codes(replaced.apply(wrap=stores(put=lost, get=blind)))
    still_the_old_one(replaced, before)


def test_a_replacement_whose_place_can_no_longer_be_seen_leaves_both_keys(replaced: World) -> None:
    """The store takes the new secret and is gone before it says so: revoking either key could be wrong."""
    down = []

    def put(real: Any, place: Place, *args: Any) -> Any:
        real(place, *args)
        down.append(1)
        raise StoreError("the store went away")

    def get(real: Any, *args: Any) -> Any:
        if down:
            raise StoreError("the store is down")
        return real(*args)

    outcome = replaced.apply(wrap=stores(put=put, get=get))
    assert "undo-failed" in codes(outcome)
    assert "left alive beside the old one" in summaries(outcome)
    by_environment = {key.spec.environment: key for key in replaced.live().values()}
    assert set(by_environment) == {"live", "test"}
    assert replaced.works(Secret(held(replaced, "a") or ""), by_environment["test"])
    assert not replaced.apply().failed
    assert not inspect(replaced)


def test_a_secret_that_the_store_refuses_is_undone_at_once(world: World) -> None:
    def refusing(real: Any, place: Place, *args: Any) -> Any:
        raise StoreError(f"{place} takes no more than 64 KiB")

    outcome = world.write(declare("a")).apply(wrap=stores(put=refusing))
    assert codes(outcome) == ["store", "mint-undone"]
    assert journal_is_empty(world)
    assert world.live() == {}


def test_a_place_that_its_store_cannot_hold_is_refused_before_anything(world: World) -> None:
    def check(real: Any, place: Place) -> None:
        if place.path == "b":
            raise StoreError(f"{place} is too long a name")

    world.write(declare("a", "b"))
    with pytest.raises(StoreError, match="too long a name") as told:
        world.apply(wrap=stores(check=check))
    assert [d.address for d in told.value.diagnostics] == ["keys.b"]
    assert world.live() == {}
    assert journal_is_empty(world)


def test_a_foreign_value_is_not_written_over(world: World) -> None:
    world.write(declare("a", "b"))
    put(world, "a", "somebody else's")
    with pytest.raises(PlanError) as told:
        world.apply()
    assert [d.code for d in told.value.diagnostics] == ["place-taken"]
    assert world.live() == {}
    assert held(world, "a") == "somebody else's"
    assert journal_is_empty(world)
    assert not world.apply(overwrite=True).failed
    assert not inspect(world)


def test_every_foreign_value_is_named_at_once(world: World) -> None:
    world.write(declare("a", "b", "c"))
    put(world, "a", "x")
    put(world, "c", "x")
    with pytest.raises(PlanError) as told:
        world.apply(parallelism=8)
    assert sorted(d.address or "" for d in told.value.diagnostics) == ["keys.a", "keys.c"]


def test_revoking_erases_what_keyform_wrote(world: World) -> None:
    world.write(declare("a", "b")).apply()
    world.write(declare("b")).apply()
    assert held(world, "a") is None
    assert not inspect(world)


def test_revoking_leaves_a_value_that_somebody_else_wrote(world: World) -> None:
    world.write(declare("a", "b")).apply()
    put(world, "a", "somebody else's")
    world.write(declare("b")).apply()
    assert held(world, "a") == "somebody else's"
    assert warned(world) == ["value-left"]
    assert len(world.live()) == 1


def test_on_revoke_keep_leaves_the_value(world: World) -> None:
    world.write(declare("b", a="secret: {path: a, on_revoke: keep}")).apply()
    before = held(world, "a")
    world.write(declare("b")).apply()
    assert held(world, "a") == before is not None
    assert warned(world) == []


@pytest.mark.parametrize("hook", ["get", "delete"])
def test_a_value_that_cannot_be_erased_keeps_the_key_in_the_state_once(world: World, hook: str) -> None:
    world.write(declare("a", "b")).apply()
    world.write(declare("b"))
    assert world.apply(wrap=stores(**{hook: failing("a")})).failed
    assert "keys.a" in world.state().keys
    # The key is gone by now, so a store that is broken for good does not stand in the way for ever.
    assert not world.apply(wrap=stores(**{hook: failing("a")})).failed
    assert warned(world) == ["value-left"]
    assert set(world.state().keys) == {"keys.b"}


def test_a_value_that_could_not_be_erased_is_erased_by_the_next_apply(world: World) -> None:
    world.write(declare("a", "b")).apply()
    world.write(declare("b"))
    assert world.apply(wrap=stores(delete=failing("a"))).failed
    assert not world.apply().failed
    assert not inspect(world)


@pytest.mark.parametrize("hook", ["get", "delete"])
def test_the_value_of_a_key_that_somebody_revoked_is_not_worth_stopping_for(world: World, hook: str) -> None:
    world.write(declare("a", "b")).apply()
    world.service().revoke(world.state().keys["keys.a"].current.id)
    world.write(declare("b"))
    assert not world.apply(wrap=stores(**{hook: failing("a")})).failed
    assert warned(world) == ["value-left"]
    assert set(world.state().keys) == {"keys.b"}


# moving a secret


@pytest.fixture
def moved(world: World) -> World:
    world.write(declare(a="secret: old")).apply()
    world.write(declare(a="secret: new"))
    return world


def test_a_secret_moves(moved: World) -> None:
    before = held(moved, "old")
    assert not moved.apply().failed
    assert (held(moved, "new"), held(moved, "old")) == (before, None)
    assert not inspect(moved)


@pytest.mark.parametrize(("hook", "at"), [("put", "old"), ("delete", "new")])
def test_a_move_that_fails_half_way_is_finished_by_the_next_apply(moved: World, hook: str, at: str) -> None:
    assert moved.apply(wrap=stores(**{hook: failing("old", "new")})).failed
    assert moved.state().keys["keys.a"].current.places == (Place("local", at),)
    assert not moved.apply().failed
    assert held(moved, "old") is None
    assert not inspect(moved)


def test_a_secret_that_moves_back_after_a_crash_leaves_nothing(moved: World) -> None:
    """Copied, recorded and erased, and dead before that is recorded; and then the edit is taken back."""

    def erased(real: Any, place: Place, *args: Any) -> Any:
        real(place, *args)
        if place.path == "old":
            die()

    assert crash(moved, stores(delete=erased)) == 77
    moved.write(declare(a="secret: old"))
    assert not moved.apply().failed
    assert held(moved, "old") is not None
    assert held(moved, "new") is None
    assert not inspect(moved)
    assert moved.plan().empty


def test_what_a_move_could_not_erase_is_told_by_the_plan_and_erased_later(moved: World) -> None:
    assert moved.apply(wrap=stores(delete=failing("old"))).failed
    assert moved.state().keys["keys.a"].current.leftovers == (Place("local", "old"),)
    (change,) = moved.plan().changes
    assert change.reason == "what is left of its secret at local:old is erased"
    assert not moved.apply(plan=moved.plan()).failed
    assert moved.state().keys["keys.a"].current.leftovers == ()
    assert not inspect(moved)


def test_what_a_move_could_not_erase_goes_with_the_key(moved: World) -> None:
    assert moved.apply(wrap=stores(delete=failing("old"))).failed
    moved.write(declare())
    assert not moved.apply().failed
    assert held(moved, "old") is None
    assert not inspect(moved)


def test_a_value_at_a_place_that_was_left_and_not_erased_yet_is_no_foreign_one(moved: World) -> None:
    assert moved.apply(wrap=stores(delete=failing("old"))).failed
    moved.write(declare(a="secret: new", b="secret: old"))
    assert not moved.apply().failed
    assert warned(moved) == []
    assert not inspect(moved)


def test_the_value_of_a_vanished_key_goes_although_a_crash_comes_between(world: World) -> None:
    world.write(declare(a="secret: old")).apply()
    world.service().revoke(world.state().keys["keys.a"].current.id)
    world.write(declare(a="secret: new"))

    def dying(request: Any, send: Any) -> Any:
        return die() if request.method == "DELETE" else send(request)

    assert crash(world, requests(dying)) == 77
    assert not world.apply().failed
    assert held(world, "old") is None
    assert not inspect(world)


def test_a_secret_that_is_not_where_it_was_cannot_move_and_is_rotated(moved: World) -> None:
    with moved.open(Wrapping()) as ws:
        ws.store("local").delete(Place("local", "old"))
    (change,) = moved.plan().changes
    assert change.action == "rotate"
    assert change.reason == (
        "its secret is to be at local:new, and local:old no longer holds its secret, so it cannot be copied"
    )
    assert not moved.apply().failed
    assert moved.state().keys["keys.a"].current.places == (Place("local", "new"),)
    assert not inspect(moved)


def test_a_secret_that_goes_missing_after_the_plan_does_not_move(moved: World) -> None:
    plan = moved.plan()
    with moved.open(Wrapping()) as ws:
        ws.store("local").delete(Place("local", "old"))
    with pytest.raises(PlanError, match="what the stores hold of"):
        moved.apply(plan=plan)
    assert moved.state().keys["keys.a"].current.places == (Place("local", "old"),)


def test_a_secret_does_not_move_over_a_foreign_value(moved: World) -> None:
    put(moved, "new", "somebody else's")
    with pytest.raises(PlanError, match="did not write"):
        moved.apply()
    assert held(moved, "old") is not None


def test_a_secret_that_was_in_a_store_no_longer_declared_says_so(world: World, tmp_path: Path) -> None:
    more = 'stores: {{{}: {{type: age, path: "{}"}}}}'
    world.write(declare(a="secret: {store: one, path: a}", rest=more.format("one", "one"))).apply()
    world.write(declare(a="secret: {store: two, path: a}", rest=more.format("two", "two")))
    (problem,) = world.plan().diagnostics
    assert problem.code == "store-not-declared"
    assert "in the store 'one', which is no longer declared" in problem.summary
    assert problem.detail.startswith("Declare 'one' again until the secret has moved")
    with pytest.raises(PlanError, match="no longer declared"):
        world.apply()


def test_the_place_of_an_adopted_key_is_recorded_whatever_it_holds(world: World) -> None:
    """keyform never saw the secret, so it writes nothing there, and so there is nothing to refuse."""
    from keyform.model import KeySpec

    spec = KeySpec(kind="secret", environment="live", name="a", scopes=("events:write",))
    key_id = world.write(declare()).service().create(spec, "other/1").key.id
    rest = f"imports: [{{key: a, id: {key_id}}}]"
    world.write(declare("a", rest=rest)).apply()
    put(world, "right-place", "put by hand")
    world.write(declare(a="secret: right-place", rest=rest))
    assert not world.apply().failed
    assert world.state().keys["keys.a"].current.places == (Place("local", "right-place"),)
    assert held(world, "right-place") == "put by hand"
    assert world.plan().empty


def test_after_a_refresh_that_missed_a_key_the_next_apply_mints_it(world: World) -> None:
    from keyform.engine.options import Options

    world.write(declare("a")).apply()
    (key_id,) = world.live()
    world.service().revoke(key_id)
    assert not world.apply(Options(mode="refresh-only")).failed
    assert set(world.state().keys) == {"keys.a"}
    assert not world.apply().failed
    assert not inspect(world)


def test_hooked_passes_everything_else_through() -> None:
    assert Hooked("text", {}).upper() == "TEXT"


# a key that takes the place of one that is revoked (a rename without `moved`)


@pytest.mark.parametrize("parallelism", [1, 8])
def test_a_place_changes_hands_without_ever_being_empty(world: World, parallelism: int) -> None:
    order = []

    def noted(real: Any, place: Place, *args: Any) -> Any:
        order.append(("put", world.live().keys()))
        return real(place, *args)

    world.write(declare(old="secret: shared")).apply()
    (before,) = world.live()
    world.write(declare(new="secret: shared"))
    assert not world.apply(wrap=stores(put=noted), parallelism=parallelism).failed
    assert [before in live for _, live in order] == [True]
    assert warned(world) == []
    assert not inspect(world)


@pytest.mark.parametrize("parallelism", [1, 8])
def test_a_place_whose_next_key_fails_keeps_the_key_that_it_has(world: World, parallelism: int) -> None:
    world.write(declare(old="secret: shared")).apply()
    world.write(declare(new="secret: shared"))
    outcome = world.apply(wrap=refuse("POST"), parallelism=parallelism)
    assert codes(outcome) == ["service-refused"]
    # What is no longer declared may be what the key that failed was to replace, so it is left alone.
    (before,) = world.live().values()
    assert world.works(Secret(held(world, "shared") or ""), before)
    assert [e["why"] for e in world.told if e["type"] == "skipped"] == [HELD_BACK]
    assert not world.apply().failed
    assert set(world.live()).isdisjoint({before.id})
    assert not inspect(world)


@pytest.mark.parametrize("parallelism", [1, 8])
def test_no_key_that_left_the_configuration_is_revoked_in_a_run_in_which_a_mint_failed(
    world: World, parallelism: int
) -> None:
    world.write(declare("a", "old")).apply()
    world.write(declare("a", "new"))
    outcome = world.apply(wrap=refuse("POST"), parallelism=parallelism)
    assert (codes(outcome), outcome.skipped) == (["service-refused"], 1)
    assert {key.spec.name for key in world.live().values()} == {"a", "old"}
    assert not world.apply(parallelism=parallelism).failed
    assert {key.spec.name for key in world.live().values()} == {"a", "new"}
    assert not inspect(world)


def test_a_place_that_changed_hands_before_a_crash_is_left_alone_and_nobody_is_warned(world: World) -> None:
    world.write(declare(old="secret: shared")).apply()
    world.write(declare(new="secret: shared"))
    assert crash(world, backend(append=nth(5, die))) == 77
    assert not world.apply().failed
    assert warned(world) == ["lock-of-dead-process"]
    assert not inspect(world)


def test_a_key_that_is_renamed_and_replaced_leaves_nothing_at_its_old_place(world: World) -> None:
    world.write(declare(old="secret: old, environment: live")).apply()
    world.write(declare(rest="moved: [{from: old, to: new}]", new="secret: new, environment: test"))
    assert not world.apply().failed
    assert held(world, "old") is None
    assert not inspect(world)
