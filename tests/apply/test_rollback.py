"""A rollback: the older generation is current again, in the store and in the state."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keyform.apply import Outcome, Wrapping
from keyform.engine.options import Options
from keyform.engine.plan import Plan
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.errors import PlanError, StoreError
from keyform.model import Place, Secret
from keyform.ports import Store
from tests.apply.outside import crash, declare, die, journal_is_empty, nth, refuse, requests, stores
from tests.conftest import Figures
from tests.promises.matrix import Steps, in_child, wrapping
from tests.promises.matrix import die as die_there
from tests.world import World, inspect
from tests.write_only import write_only

BACK = Options(rollback=("keys.a",), rollback_reason="the new one broke checkout")
ROTATE = Options(rotate=("keys.a",))
POLICY = "rotation: {every: 30d, overlap: 3d}"
KEY = declare("b", a=f"secret: a, {POLICY}")
MOVED = declare("b", a=f"secret: [elsewhere, a2], {POLICY}")


@pytest.fixture
def rotated(world: World) -> World:
    """Generation 2 of ``a`` is current; generation 1 is in its overlap."""
    world.write(KEY).apply()
    world.clock.move(days=31)
    world.apply()
    assert numbers(world) == [1, 2]
    return world


def numbers(world: World) -> list[int]:
    return [g.number for g in world.state().keys["keys.a"].generations()]


def secret_of(world: World) -> Secret:
    secret = world.stored("keys.a")
    assert secret is not None
    return secret


def refusal(plan: Plan) -> str:
    (told,) = (d for d in plan.diagnostics if d.code == "no-rollback")
    assert plan.failed
    assert not plan.changes
    return told.summary


def works(world: World) -> bool:
    """Whether what the store holds works as the current key."""
    current = world.state().keys["keys.a"].current
    return world.works(secret_of(world), world.live()[current.id])


def test_the_older_one_is_current_again_and_both_work(world: World) -> None:
    world.write(KEY).apply()
    first = secret_of(world)
    world.clock.move(days=31)
    world.apply()
    second = secret_of(world)
    outcome = world.apply(BACK)
    assert (outcome.done, outcome.failed) == (1, ())
    assert secret_of(world) == first
    record = world.state().keys["keys.a"]
    assert [g.number for g in record.generations()] == [2, 1]
    assert record.rolled_back_at == record.deposed[0].replaced_at == world.clock.now()
    assert (record.current.revoke_at, record.current.replaced_at) == (None, None)
    live = world.live()
    assert world.works(first, live[record.current.id])
    assert world.works(second, live[record.deposed[0].id])
    assert not inspect(world)


def test_the_plan_says_what_where_from_and_what_becomes_of_the_newer_one(rotated: World) -> None:
    plan = rotated.plan(BACK)
    (change,) = plan.changes
    assert (change.action, plan.summary["rollback"]) == ("rollback", 1)
    newer = rotated.state().keys["keys.a"].current.id
    assert change.reason == (
        "asked for: the new one broke checkout; generation 1 is current again, with its secret from local:a; "
        f"{newer} lives on for 3d beside it"
    )


def test_a_saved_plan_of_it_does_exactly_that(rotated: World) -> None:
    plan = load_plan(dump_plan(rotated.plan(BACK)), "p")
    assert rotated.apply(plan=plan).done == 1
    assert numbers(rotated) == [2, 1]
    with pytest.raises(PlanError, match="stale"):
        rotated.apply(plan=plan)


def test_a_saved_plan_of_another_generation_or_place_is_refused(rotated: World) -> None:
    plan = rotated.plan(BACK)
    (change,) = plan.changes
    (step,) = change.steps
    current = rotated.state().keys["keys.a"].current
    for forged in (
        replace(step, key_id=current.id),
        replace(step, generation=2),
        replace(step, overlap=None),
        replace(step, places=(Place("local", "b"),)),
        replace(step, sources=(Place("local", "b"),)),
    ):
        other = replace(plan, changes=(replace(change, steps=(forged,)),))
        with pytest.raises(PlanError, match="would not have put there"):
            rotated.apply(plan=load_plan(dump_plan(other), "p"))
    assert numbers(rotated) == [1, 2]


def test_its_schedule_waits_and_the_plan_says_until_when(rotated: World) -> None:
    rotated.apply(BACK)
    plan = rotated.plan()
    assert plan.changes == ()
    (told,) = (d for d in plan.diagnostics if d.code == "held-back")
    assert told.summary == (
        "keys.a: rotation is due, held back until 2026-12-24T12:00:00Z because of a rollback "
        "2026-12-21T12:00:00Z"
    )
    rotated.clock.move(days=3, seconds=-1)
    assert rotated.plan().changes == ()
    rotated.clock.move(seconds=1)
    assert [(c.action, c.key_id is not None) for c in rotated.plan().changes] == [
        ("rotate", True),
        ("revoke", True),
    ]
    assert not rotated.apply().failed
    assert numbers(rotated) == [1, 3]
    assert rotated.state().keys["keys.a"].rolled_back_at is None
    assert works(rotated)


def test_asked_for_it_rotates_all_the_same(rotated: World) -> None:
    rotated.apply(BACK)
    rotated.apply(ROTATE)
    assert numbers(rotated) == [2, 1, 3]


def test_the_newer_one_can_be_had_back_in_turn(rotated: World) -> None:
    second = secret_of(rotated)
    rotated.apply(BACK)
    rotated.apply(BACK)
    assert (secret_of(rotated), numbers(rotated)) == (second, [1, 2])
    assert works(rotated)


def test_the_newer_one_is_revoked_when_its_overlap_is_over_and_its_place_is_left_alone(
    rotated: World,
) -> None:
    first = rotated.state().keys["keys.a"].deposed[0].id
    rotated.apply(BACK)
    rotated.write(KEY.replace("30d", "90d")).apply()
    rotated.clock.move(days=3)
    outcome = rotated.apply()
    assert [c.action for c in outcome.plan.changes] == ["revoke"]
    record = rotated.state().keys["keys.a"]
    assert ([g.id for g in record.generations()], works(rotated)) == ([first], True)
    assert not inspect(rotated)


def test_the_earlier_value_is_kept_for_as_long_as_its_key_lives(rotated: World) -> None:
    def kept() -> list[str]:
        return [file.name for file in rotated.folder.rglob("*.before")]

    assert kept() == ["a.age.before"]
    rotated.clock.move(days=3)
    assert [c.action for c in rotated.apply().plan.changes] == ["revoke"]
    assert kept() == []
    rotated.apply(Options(rotate=("keys.a",), rotate_now=True))
    assert kept() == []
    rotated.apply(ROTATE)
    rotated.write(declare("b")).apply()
    assert kept() == []


def test_a_key_that_was_revoked_elsewhere_leaves_no_value_either(rotated: World) -> None:
    rotated.clock.move(days=3)
    rotated.apply()
    rotated.service().revoke(rotated.state().keys["keys.a"].current.id)
    assert rotated.apply().done == 1
    assert list(rotated.folder.rglob("*.before")) == []
    assert not inspect(rotated)


def test_a_rotation_that_is_undone_leaves_nothing_of_the_new_key(world: World) -> None:
    world.write(declare(a=f"secret: [a, a2], {POLICY}")).apply()
    outcome = world.apply(ROTATE, wrap=stores(put=nth(2, fail)))
    assert "mint-undone" in [d.code for d in outcome.failed]
    assert list(world.folder.rglob("*.before")) == []
    assert not inspect(world)


def test_a_place_that_still_holds_it_gives_it_too(world: World) -> None:
    """The key was rotated into other places, and its old place is left."""
    world.write(KEY).apply()
    first = secret_of(world)
    world.write(MOVED).apply(ROTATE)
    outcome = world.apply(BACK)
    assert not outcome.failed
    record = world.state().keys["keys.a"]
    assert [p.path for p in record.current.places] == ["elsewhere", "a2"]
    with world.open(Wrapping()) as ws:
        assert {value_of(ws.store("local"), path) for path in ("elsewhere", "a2")} == {first.reveal()}
    world.apply()
    assert world.state().keys["keys.a"].current.leftovers == ()
    assert not inspect(world)


def value_of(store: Store, path: str) -> str:
    found = store.get(Place("local", path))
    assert found is not None
    return found.reveal()


# Refused


def test_without_an_older_generation(world: World) -> None:
    world.write(KEY).apply()
    assert "there is no older generation" in refusal(world.plan(BACK))


def test_when_its_overlap_is_over(rotated: World) -> None:
    rotated.clock.move(days=3)
    assert "the overlap of generation 1 is over, 2026-12-24T12:00:00Z" in refusal(rotated.plan(BACK))


def test_when_somebody_revoked_it(rotated: World) -> None:
    rotated.service().revoke(rotated.state().keys["keys.a"].deposed[0].id)
    assert "no older generation works: generation 1 is revoked" in refusal(rotated.plan(BACK))


def test_when_the_store_keeps_no_earlier_value(rotated: World) -> None:
    for kept in rotated.folder.rglob("*.before"):
        kept.unlink()
    told = refusal(rotated.plan(BACK))
    assert "nobody gives the secret of generation 1 any more: local:a holds another value by now" in told


def test_when_what_the_store_gives_is_another_value(rotated: World) -> None:
    def get(real: Any, place: Place, version: str | None = None) -> Secret | None:
        return real(place) if version is None else Secret("forged")  # type: ignore[no-any-return]

    rotated.wrap = stores(get=get)
    assert "is another than keyform wrote" in refusal(rotated.plan(BACK))


def test_when_it_was_to_end_at_once(rotated: World) -> None:
    rotated.apply(Options(rotate=("keys.a",), rotate_now=True), wrap=refuse("DELETE"))
    assert "was to end at once" in refusal(rotated.plan(BACK))


def test_when_it_is_not_what_is_declared(world: World) -> None:
    before = declare(a=f"secret: a, environment: live, {POLICY}")
    world.write(before).apply()
    world.write(before.replace("live", "test")).apply()
    assert "has another environment than is declared" in refusal(world.plan(BACK))
    world.write(before)
    assert world.apply(BACK).done == 1
    assert world.plan().changes == ()


def test_a_saved_plan_says_when_it_came_too_late(rotated: World) -> None:
    plan = load_plan(dump_plan(rotated.plan(BACK)), "p")
    rotated.clock.move(days=3)
    with pytest.raises(PlanError, match=r"too late: .* the overlap of generation 1 is over") as refused:
        rotated.apply(plan=plan)
    (told,) = refused.value.diagnostics
    assert "`keyform rotate keys.a` makes a new key." in told.detail
    assert "wrote" not in told.detail


def test_what_only_an_update_would_change_is_shown_and_put_right_by_the_next_apply(world: World) -> None:
    wide = declare(a=f"secret: a, scopes: ['events:read', 'events:write'], {POLICY}")
    world.write(wide).apply()
    world.apply(ROTATE)
    world.write(wide.replace(", 'events:write'", "")).apply()
    plan = world.plan(BACK)
    (change,) = plan.changes
    assert [d.path for d in change.diff] == ["generation", "scopes"]
    assert change.reason.endswith("; not as declared until the next apply: scopes")
    assert change.privilege == "widens"
    assert world.apply(BACK).done == 1
    assert [c.action for c in world.apply().plan.changes] == ["update"]
    assert world.plan().changes == ()


def test_unknown_undeclared_and_unminted_keys(world: World) -> None:
    world.write(KEY).apply()
    unknown = world.plan(Options(rollback=("keys.z",)))
    assert "neither declared nor in the state" in refusal(unknown)


# What goes wrong on the way


def test_a_key_that_the_service_refuses_is_not_stored(rotated: World) -> None:
    second = secret_of(rotated)
    outcome = rotated.apply(BACK, wrap=refuse("POST", "/v1/verify", status=401))
    assert outcome.failed
    assert (secret_of(rotated), numbers(rotated)) == (second, [1, 2])
    assert journal_is_empty(rotated)


def test_a_store_that_fails_holds_what_it_held(world: World) -> None:
    world.write(KEY).apply()
    world.write(MOVED).apply(ROTATE)
    with world.open(Wrapping()) as ws:
        before = value_of(ws.store("local"), "elsewhere")
    outcome = world.apply(BACK, wrap=stores(put=nth(2, fail)))
    assert outcome.failed
    with world.open(Wrapping()) as ws:
        assert {value_of(ws.store("local"), path) for path in ("elsewhere", "a2")} == {before}
    assert numbers(world) == [1, 2]
    assert journal_is_empty(world)
    assert world.plan().changes == ()


def fail(*_: Any, **__: Any) -> Any:
    raise StoreError("no", "The test says so.")


def test_a_value_of_somebody_else_is_not_overwritten(rotated: World) -> None:
    with rotated.open(Wrapping()) as ws:
        ws.store("local").put(Place("local", "a"), Secret("theirs"), {})
    with pytest.raises(PlanError, match="did not write"):
        rotated.apply(BACK)
    assert rotated.apply(BACK, overwrite=True).done == 1
    assert works(rotated)


IN_TWO = declare(
    "b",
    a=f"secret: [a, {{store: second, path: a2}}], {POLICY}",
    rest="stores: {local: {type: age}, second: {type: age, path: .keyform/second}}\ndefaults: {store: local}",
)
SCENARIOS = {
    "one place": (KEY, KEY, ()),
    "moved to two": (KEY, MOVED, ()),
    "two stores": (IN_TWO, IN_TWO, ()),
    "one of two cannot be read": (IN_TWO, IN_TWO, ("second",)),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_crash_at_any_point_is_finished_or_undone_by_the_next_apply(
    tmp_path: Path, figures: Figures, name: str
) -> None:
    before, after_it, unread = SCENARIOS[name]
    around = write_only(*unread)
    prepared = World(tmp_path / "prepared", wrap=Wrapping(store=around))
    prepared.folder.mkdir()
    prepared.write(before).apply()
    prepared.write(after_it).apply(ROTATE)
    points, rolled_back = 0, 0
    while True:
        for after in (False, True):
            folder = tmp_path / f"w{points}-{after}"
            world = World(shutil.copytree(prepared.folder, folder), prepared.clock, prepared.wrap)
            steps = wrapping(Steps(points + 1, after, die_there), around)
            code = in_child(lambda world=world, steps=steps: run_back(world, steps))
            if code == 0:
                figures(f"rollback, {name}", f"{2 * points} crashes, {rolled_back} finished, 0 failures")
                assert points > 5
                assert 0 < rolled_back < 2 * points
                return
            assert code == 77
            assert not world.apply().failed, points
            found, undone = inspect(world), numbers(world) == [1, 2]
            # Where it was before, the older one is in its overlap.
            kept = ("left in the store: local:a",) if undone and before != after_it else ()
            wrong = (found.lost, found.doubled, found.other)
            assert (found.stray, wrong) == (kept, ((), (), ())), (points, after)
            assert world.plan().changes == (), (points, after)
            assert numbers(world) in ([1, 2], [2, 1])
            rolled_back += numbers(world) == [2, 1]
            assert journal_is_empty(world)
        points += 1


def run_back(world: World, wrap: Wrapping) -> Outcome:
    return world.apply(BACK, wrap=wrap)


def test_a_crash_with_one_place_and_versions_leaves_a_working_key(rotated: World) -> None:
    """Right after the write: the next apply finishes the rollback, without having to be told."""
    plan = load_plan(dump_plan(rotated.plan(BACK)), "p")

    def put_and_die(put: Any, *args: Any) -> Any:
        done = put(*args)
        return die() if args[2] else done  # the probe's canary has no labels

    assert crash(rotated, stores(put=put_and_die), plan) == 77
    assert not rotated.apply().failed
    assert (numbers(rotated), works(rotated)) == ([2, 1], True)
    assert journal_is_empty(rotated)
    assert not inspect(rotated)


def test_a_saved_plan_that_was_killed_goes_on(rotated: World) -> None:
    plan = load_plan(dump_plan(rotated.plan(BACK)), "p")
    assert crash(rotated, requests(lambda request, send: die()), plan) == 77
    assert rotated.apply(plan=plan).done == 1
    assert numbers(rotated) == [2, 1]


def test_a_recovery_that_is_killed_too_is_finished_by_the_one_after(tmp_path: Path, figures: Figures) -> None:
    killed = World(tmp_path / "killed")
    killed.folder.mkdir()
    killed.write(IN_TWO).apply()
    killed.apply(ROTATE)
    assert in_child(lambda: killed.apply(BACK, wrap=stores(put=nth(2, die)))) == 77  # one place has it
    for at in itertools.count(1):
        world = World(shutil.copytree(killed.folder, tmp_path / f"again-{at}"), killed.clock)
        steps = wrapping(Steps(at, at % 2 == 0, die_there))
        if in_child(lambda world=world, steps=steps: world.apply(wrap=steps)) == 0:
            figures("rollback, its recovery killed", f"{at - 1} crashes, 0 failures")
            assert at > 3
            return
        assert not world.apply().failed
        assert (numbers(world), works_in_both(world)) == ([2, 1], True), at
        assert not inspect(world)
        assert journal_is_empty(world)


def works_in_both(world: World) -> bool:
    current = world.state().keys["keys.a"].current
    with world.open() as ws:
        held = [ws.store(place.store).get(place) for place in current.places]
    live = world.live()[current.id]
    return len(held) == 2 and all(secret is not None and world.works(secret, live) for secret in held)


def test_the_command_that_is_advised_can_be_pasted(world: World) -> None:
    """A shell takes the quotes and brackets of a `for_each` address for its own."""
    world.write(declare(k='for_each: [x], secret: "k/${each.key}"')).apply()
    address = 'keys.k["x"]'
    told = world.plan(Options(rollback=(address,))).diagnostics
    advised = [words for one in told for words in re.findall("`(keyform rotate [^`]*)`", one.detail)]
    assert [shlex.split(words) for words in advised] == [["keyform", "rotate", address]]
