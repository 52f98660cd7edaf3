"""A saved plan is binding: it does what was reviewed, or it is refused and nothing is touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from keyform.apply import states
from keyform.apply.check import check_saved_plan
from keyform.engine.options import DESTROY, NORMAL, REFRESH_ONLY, Options
from keyform.engine.plan import Plan
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.errors import PlanError
from keyform.model import Credits, Move, Refill
from keyform.state import State, dump_state
from tests.apply.outside import backend, crash, declare, die, journal_is_empty, nth, stores
from tests.engine.scene import PROFILE, SPEC, Scene, generation, live_of, place, record, wanted
from tests.world import World, inspect

WEB = 'projects: {{web: {{service: sandbox, allowed_origins: ["https://{}.example"]}}}}'


def saved(world: World, mode: str = NORMAL) -> Plan:
    """The plan as it comes back from its file."""
    return load_plan(dump_plan(world.plan(Options(mode=mode))), "plan.json")


def refused(world: World, plan: Plan) -> PlanError:
    before = (world.state().keys, set(world.live()))
    with pytest.raises(PlanError) as told:
        world.apply(plan=plan)
    assert (world.state().keys, set(world.live())) == before
    assert journal_is_empty(world)
    return told.value


def test_a_saved_plan_does_what_it_says_without_asking(world: World) -> None:
    world.write(declare("a", "b"))
    plan = saved(world)
    outcome = world.apply(plan=plan, approve=lambda plan: pytest.fail("a saved plan was reviewed already"))
    assert (outcome.done, outcome.plan) == (2, plan)
    assert not inspect(world)
    assert world.state().lineage == plan.lineage


def test_a_saved_plan_is_not_applied_twice(world: World) -> None:
    plan = saved(world.write(declare("a")))
    world.apply(plan=plan)
    assert "stale" in str(refused(world, plan))


def test_of_two_first_plans_one_is_applied(world: World) -> None:
    world.write(declare("a"))
    first, second = saved(world), saved(world)
    assert not world.apply(plan=second).failed
    refused(world, first)
    assert not inspect(world)


def test_a_plan_from_before_the_last_write_is_stale(world: World) -> None:
    world.write(declare("a")).apply()
    world.write(declare("a", "b"))
    plan = saved(world)
    world.apply()
    assert "the state was written since" in str(refused(world, plan))


def test_a_plan_of_another_state_is_refused(world: World) -> None:
    world.write(declare("a")).apply()
    world.write(declare("a", "b"))
    plan = saved(world)
    with world.open() as ws:
        states.push(ws, dump_state(replace(world.state(), lineage=State.fresh().lineage)), force=True)
    assert "another state" in str(refused(world, plan))


def test_a_plan_of_another_configuration_is_refused(world: World) -> None:
    plan = saved(world.write(declare("a")))
    world.write(declare("a", "b"))
    assert "configuration or its variables changed" in str(refused(world, plan))


def change_key(world: World) -> None:
    (key,) = world.live().values()
    world.service().update(key, replace(key.spec, description="by hand"), frozenset({"description"}))


def revoke_key(world: World) -> None:
    (key_id,) = world.live()
    world.service().revoke(key_id)


def change_project(world: World) -> None:
    world.service().set_origins("web", ("https://z.example",))


@pytest.mark.parametrize("meddle", [change_key, revoke_key, change_project])
def test_a_plan_that_the_service_has_left_behind_is_refused(
    world: World, meddle: Callable[[World], None]
) -> None:
    world.write(declare(a="secret: a, scopes: [events:read]", rest=WEB.format("a"))).apply()
    world.write(declare(a="secret: a, scopes: [events:write]", rest=WEB.format("b")))
    plan = saved(world)
    meddle(world)
    error = refused(world, plan)
    assert [d.code for d in error.diagnostics] == ["plan-stale"]
    assert error.diagnostics[0].address in ("keys.a", "projects.web")


def test_last_use_does_not_make_a_plan_stale(world: World) -> None:
    world.write(declare("a")).apply()
    world.write(declare(a="secret: a, description: new"))
    plan = saved(world)
    (key,) = world.live().values()
    secret = world.stored("keys.a")
    assert secret is not None and world.works(secret, key)
    assert not world.apply(plan=plan).failed


def test_a_plan_with_errors_is_refused(world: World) -> None:
    world.write(declare(a="secret: a, protect: true")).apply()
    world.write(declare())
    assert [d.code for d in refused(world, saved(world)).diagnostics] == ["protected"]


def test_a_refresh_and_a_destroy_can_be_saved(world: World) -> None:
    world.write(declare("a")).apply()
    change_key(world)
    assert not world.apply(plan=saved(world, REFRESH_ONLY)).failed
    assert world.state().keys["keys.a"].current.spec.description == "by hand"
    assert not world.apply(plan=saved(world, DESTROY)).failed
    assert world.live() == {}


def test_a_plan_applied_later_counts_a_span_from_the_mint(world: World) -> None:
    world.write(declare(a="secret: a, expires_in: 90d"))
    plan = saved(world)
    world.clock.move(days=1)
    assert not world.apply(plan=plan).failed
    (key,) = world.live().values()
    assert key.spec.expires_at == world.clock.now() + timedelta(days=90)
    assert world.plan().empty


def test_a_clock_with_fractions_of_a_second_leaves_no_change_behind(world: World) -> None:
    world.clock.move(seconds=0.123456)
    world.write(declare(a="secret: a, expires_in: 90d")).apply()
    assert world.plan().empty
    world.write(declare(a="secret: a, expires_in: 30d"))
    assert not world.apply(plan=saved(world)).failed
    assert world.plan().empty


BEFORE = declare("gone", a="secret: a, environment: live", b="secret: b")
AFTER = declare("new", "newer", a="secret: a, environment: test", b="secret: b2, description: x")


@pytest.mark.parametrize("first", [True, False], ids=["first apply", "later apply"])
@pytest.mark.parametrize("at", range(1, 12))
def test_the_same_plan_goes_on_after_a_crash(world: World, first: bool, at: int) -> None:
    """Dead at the nth write of the journal; then the same plan again brings everything about."""
    if not first:
        world.write(BEFORE).apply()
    world.write(AFTER)
    plan = saved(world)
    if crash(world, backend(append=nth(at, die)), plan) == 0:
        assert at > 8
        return
    assert not world.apply(plan=plan).failed
    assert not inspect(world)
    assert world.plan().empty


def test_the_same_plan_goes_on_after_a_second_crash(world: World) -> None:
    world.write(declare("a", "b", "c", "d"))
    plan = saved(world)
    for _ in range(3):
        assert crash(world, stores(put=nth(2, die)), plan) == 77
    outcome = world.apply(plan=plan)
    assert (outcome.done, outcome.failed) == (1, ())
    assert not inspect(world)


def test_a_plan_that_was_done_when_the_run_died_has_nothing_left(world: World) -> None:
    world.write(declare("a"))
    plan = saved(world)
    assert crash(world, backend(clear=die), plan) == 77
    assert world.apply(plan=plan).done == 0
    assert not inspect(world)


def test_another_plan_does_not_pass_for_the_one_that_crashed(world: World) -> None:
    world.write(declare("a", "b"))
    plan = saved(world)
    assert crash(world, stores(put=nth(2, die)), plan) == 77
    other = replace(plan, changes=plan.changes[:1])
    with pytest.raises(PlanError, match="stale"):
        world.apply(plan=other)
    assert not world.apply().failed
    assert not inspect(world)


def test_a_key_that_moves_first_is_still_recognised() -> None:
    """What a listing hides is filled in from the record, which stands under the old address yet."""
    profile = replace(PROFILE, shown=PROFILE.shown - {"environment"})
    scene = Scene(
        (wanted(places=(place("old"),)),),
        (record("old"),),
        live={"toy": (live_of(generation("old"), spec=replace(SPEC, name="old", environment=None)),)},
        profile=profile,
        desired={"moves": (Move("keys.old", "keys.a"),)},
    )
    plan = scene.plan()
    assert [c.action for c in plan.changes] == ["move", "update"]
    check_saved_plan(plan, scene.sight(), no_state_yet=False)


def test_a_key_that_somebody_changed_is_no_leftover_of_the_crash(world: World) -> None:
    world.write(BEFORE).apply()
    world.write(AFTER)
    plan = saved(world)
    assert crash(world, backend(append=nth(1, die)), plan) == 77
    for key in world.live().values():
        world.service().update(key, replace(key.spec, description="by hand"), frozenset({"description"}))
    with pytest.raises(PlanError) as told:
        world.apply(plan=plan)
    assert {d.address for d in told.value.diagnostics} == {"keys.a", "keys.b", "keys.gone"}
    assert len(world.live()) == 3


@pytest.mark.parametrize("left", [100, 3])
def test_an_update_of_credits_that_came_true_is_known_by_more_than_what_is_left(left: int) -> None:
    few, more = (replace(SPEC, credits=Credits(100, Refill(amount, "daily"))) for amount in (10, 20))
    current = generation(spec=few)
    scene = Scene((wanted(spec=more),), (record(current=current),))
    plan = scene.plan()
    scene.live = {"toy": (live_of(current, spec=replace(more, credits=Credits(left, Refill(20, "daily")))),)}
    check_saved_plan(plan, scene.sight(), no_state_yet=False, done=frozenset())
    scene.live = {"toy": (live_of(current, spec=replace(more, credits=None)),)}
    with pytest.raises(PlanError):
        check_saved_plan(plan, scene.sight(), no_state_yet=False, done=frozenset())
