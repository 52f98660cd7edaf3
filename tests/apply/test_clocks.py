"""A service whose clock is far from this machine's: nothing goes by time there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime

import httpx
import pytest

from keyform.apply import Wrapping, plan_now
from keyform.engine.options import Options
from keyform.engine.plan import Plan
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.errors import PlanError
from tests.apply.outside import Send, declare, requests
from tests.world import NORMALLY, World, inspect

DAY = timedelta(days=1)
SERIES = declare("b", a="secret: a, rotation: {every: 10d, overlap: 1d}")
ROTATE = Options(rotate=("keys.a",))


@pytest.fixture
def off(world: World) -> Callable[[timedelta], Wrapping]:
    """The service says by each answer that its clock is this far ahead."""

    def answering(skew: timedelta) -> Wrapping:
        def answer(request: httpx.Request, send: Send) -> httpx.Response:
            response = send(request)
            response.headers["Date"] = format_datetime(world.clock.now() + skew, usegmt=True)
            return response

        return requests(answer)

    return answering


Off = Callable[[timedelta], Wrapping]


def plan(world: World, wrap: Wrapping, options: Options = NORMALLY) -> Plan:
    with world.open(wrap) as ws:
        return plan_now(ws, options)


@pytest.mark.parametrize("skew", [-4 * DAY, 4 * DAY, timedelta(minutes=6)])
def test_an_old_generation_is_not_revoked_and_the_plan_says_why(
    world: World, off: Off, skew: timedelta
) -> None:
    world.write(SERIES).apply()
    world.apply(ROTATE)
    world.clock.move(days=2)
    outcome = world.apply(wrap=off(skew))
    assert outcome.plan.changes == ()
    assert outcome.plan.held_back == ("keys.a",)
    (told,) = (d for d in outcome.plan.diagnostics if d.code == "clock-skew")
    assert "keys.a: keyform will not revoke it while the clock of sandbox is" in told.summary
    assert len(world.live()) == 3
    assert world.apply(wrap=off(timedelta(minutes=4))).done == 1
    assert not inspect(world)


def test_no_rotation_is_due_and_all_else_is_done(world: World, off: Off) -> None:
    world.write(SERIES).apply()
    world.clock.move(days=365)
    world.write(SERIES.replace("name: b", "name: c") + "  new: {service: sandbox, name: new, secret: new}\n")
    outcome = world.apply(wrap=off(-365 * DAY))
    assert [(c.address, c.action) for c in outcome.plan.changes] == [
        ("keys.b", "update"),
        ("keys.new", "create"),
    ]
    assert (outcome.done, outcome.failed) == (2, ())
    (told,) = (d for d in outcome.plan.diagnostics if d.code == "clock-skew")
    assert "will not rotate it while the clock of sandbox is 1y behind this machine's" in told.summary
    assert world.state().keys["keys.a"].deposed == ()


def test_what_would_end_at_a_wrong_time_is_refused_when_it_is_asked_for(world: World, off: Off) -> None:
    world.write(SERIES).apply()
    outcome = world.apply(ROTATE, wrap=off(4 * DAY))
    assert (outcome.done, outcome.plan.held_back) == (0, ("keys.a",))
    (told,) = (d for d in outcome.plan.diagnostics if d.code == "clock-skew")
    assert "will not rotate it while the clock of sandbox is 4d ahead" in told.summary
    assert world.apply(Options(rotate=("keys.a",), rotate_now=True), wrap=off(4 * DAY)).done == 1
    assert not inspect(world)


EXPIRING = declare(
    "b", a="secret: a, expires_in: 30d, rotation: {every: 20d, before_expiry: 5d, overlap: 1d}"
)


@pytest.mark.parametrize(("days", "waits"), [(21, True), (26, True), (29.5, False), (31, False)])
def test_a_key_that_is_dead_or_about_to_die_does_not_wait_for_somebodys_clock(
    world: World, off: Off, days: float, waits: bool
) -> None:
    world.write(EXPIRING).apply()
    world.clock.move(days=days)
    outcome = world.apply(wrap=off(timedelta(minutes=-6)))
    assert outcome.plan.held_back == (("keys.a",) if waits else ())
    assert world.state().keys["keys.a"].current.number == (1 if waits else 2)


def test_a_leak_does_not_wait_either(world: World, off: Off) -> None:
    world.write(EXPIRING).apply()
    now = Options(rotate=("keys.a",), rotate_now=True)
    assert world.apply(now, wrap=off(timedelta(minutes=-6))).done == 1
    assert len(world.live()) == 2


def test_a_saved_plan_is_refused_for_it(world: World, off: Off) -> None:
    world.write(SERIES).apply()
    world.apply(ROTATE)
    world.clock.move(days=2)
    saved = load_plan(dump_plan(world.plan()), "p")
    with pytest.raises(PlanError, match="will not revoke it while the clock of sandbox is 4d behind"):
        world.apply(plan=saved, wrap=off(-4 * DAY))
    assert world.apply(plan=saved).done == 1


def test_a_saved_plan_of_what_is_left_is_applied(world: World, off: Off) -> None:
    world.write(SERIES).apply()
    world.clock.move(days=11)
    world.write(SERIES.replace("name: b", "name: c"))
    saved = load_plan(dump_plan(plan(world, off(4 * DAY))), "p")
    assert world.apply(plan=saved, wrap=off(4 * DAY)).done == 1


def test_a_plan_for_another_time_holds_no_clock_against_it(world: World, off: Off) -> None:
    world.write(SERIES).apply()
    world.clock.move(days=11)
    with world.open(off(-11 * DAY)) as ws:
        assert [change.action for change in plan_now(ws, Options(), present=False).changes] == ["rotate"]


def test_what_is_no_longer_declared_is_revoked_whatever_the_time(world: World, off: Off) -> None:
    world.write(SERIES).apply()
    world.write(declare("b"))
    assert world.apply(wrap=off(-4 * DAY)).done == 1
    assert world.apply(Options(mode="destroy"), wrap=off(-4 * DAY)).done == 1
    assert world.live() == {}
