"""What a saved plan shows is held against planning once more: what passes by itself is no lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyform.diagnostics import warning
from keyform.engine.afresh import shown_otherwise
from keyform.engine.alone import OVER
from keyform.engine.holding import Found, Holdings
from keyform.engine.options import DESTROY, NORMAL, REFRESH_ONLY, Options
from keyform.engine.plan import FieldDiff, Left, Plan
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.engine.planner import make_plan
from keyform.engine.sight import Sight
from keyform.engine.vetting import vet
from keyform.engine.whereabouts import Whereabouts
from keyform.model import ACTIVE, EXPIRED, Credits, LiveKey, Place, Rotation
from keyform.profile import Kind
from tests.engine.scene import DAY, NOW, PROFILE, SPEC, Scene, generation, live_of, place, record, wanted
from tests.engine.test_convergence import COMMON, sights

SEEING = replace(PROFILE, shows_last_used=True, last_used_lag=timedelta(hours=1))
"""A service that shows last uses, some of them an hour late."""
GATED = Rotation(every=5 * DAY, revoke_when_unused_for=DAY)


def from_file(plan: Plan) -> Plan:
    return load_plan(dump_plan(plan), "p")


def later(sight: Sight, used: bool, **span: float) -> Sight:
    """The same world when some time has passed: keys have come to their ends, and were ``used`` perhaps."""
    now = sight.now + timedelta(**span)

    def pass_by(key: LiveKey) -> LiveKey:
        over = key.status == ACTIVE and key.spec.expires_at is not None and key.spec.expires_at <= now
        return replace(
            key,
            status=EXPIRED if over else key.status,
            last_used_at=now if used and key.status == ACTIVE else key.last_used_at,
        )

    services = {}
    for name, view in sight.services.items():
        keys = tuple(map(pass_by, view.listing.keys))
        stranger = LiveKey("stranger", SPEC, created_at=now)
        listing = replace(view.listing, keys=(*keys, stranger))
        services[name] = type(view).of(name, view.profile, listing, view.own_key)
    return replace(sight, now=now, services=services)


def refusals(plan: Plan, sight: Sight) -> list[str]:
    """Why the plan is refused. (That nothing is minted after its end is no matter of what a plan shows.)"""
    told = (*vet(plan, sight, None), *shown_otherwise(plan, sight))
    return [d.summary for d in told if d.code != OVER]


@given(
    sights(),
    st.sampled_from((NORMAL, NORMAL, NORMAL, DESTROY, REFRESH_ONLY)),
    st.sampled_from(((), (), ("keys.a",))),
    st.sampled_from((timedelta(0), timedelta(hours=5), 30 * DAY)),
    st.booleans(),
    st.booleans(),
)
@COMMON
def test_an_honest_plan_stands_however_late(
    sight: Sight, mode: str, rotate: tuple[str, ...], wait: timedelta, used: bool, seeing: bool
) -> None:
    profile = SEEING if seeing else PROFILE
    services = {name: replace(view, profile=profile) for name, view in sight.services.items()}
    where = Whereabouts({name: name for name in services}, {"local": "l", "second": "s"})
    sight = replace(sight, services=services, where=where)
    asked = {"rotate": rotate, "rotate_reason": "a leak", "rotate_now": used} if rotate else {}
    plan = make_plan(sight, Options(mode, **asked) if mode == NORMAL else Options(mode))
    if not plan.failed:
        assert refusals(from_file(plan), later(sight, used, seconds=wait.total_seconds())) == []


def on(change: int, **parts: Any) -> Callable[[Plan], Plan]:
    def forge(plan: Plan) -> Plan:
        changes = list(plan.changes)
        changes[change] = replace(changes[change], **parts)
        return replace(plan, changes=tuple(changes))

    return forge


def scene() -> Scene:
    """``a`` is replaced, ``b`` moves its secret, ``c`` is revoked."""
    return Scene(
        (
            wanted("a", spec=replace(SPEC, name="a", environment="test", scopes=())),
            wanted("b", places=(place("z"),)),
        ),
        (record("a"), record("b"), record("c")),
        profile=replace(PROFILE, kinds={"secret": Kind("secret", unscoped_is_all=True)}),
    )


FORGERIES: dict[str, Callable[[Plan], Plan]] = {
    "reason": on(0, reason="only the owner changes"),
    "diff": on(0, diff=(FieldDiff("owner", None, "me"),)),
    "no diff": on(0, diff=()),
    "privilege": on(0, privilege="narrows", privilege_words=("was live, is test now",)),
    "drift": on(0, drift=True),
    "backing": on(0, backing="documented"),
    "number": on(0, generation=7),
    "another key": on(0, key_id="decoy", seen=None, held=None),
    "no seen": on(0, seen=None),
    "left": on(1, left=(Left(Place("local", "b"), "it stays"),)),
    "address": on(2, address="keys.b"),
    "refresh": lambda plan: replace(plan, options=Options(REFRESH_ONLY)),
    "import": lambda plan: replace(plan, options=Options("import-only")),
    "destroy": lambda plan: replace(plan, options=Options(DESTROY)),
    "targets": lambda plan: replace(plan, options=Options(targets=("keys.a",))),
    "unchanged": lambda plan: replace(plan, unchanged=40),
    "later": lambda plan: replace(plan, created_at=NOW + DAY),
    "a warning less": lambda plan: replace(plan, diagnostics=()),
    "a warning more": lambda plan: replace(
        plan, diagnostics=(*plan.diagnostics, warning("left-alive", "it lives on", address="keys.c"))
    ),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_plan_that_shows_something_else_is_refused(forge: Callable[[Plan], Plan]) -> None:
    sight = scene().sight()
    plan = make_plan(sight, Options())
    assert [change.action for change in plan.changes] == ["replace", "update", "revoke"]
    assert "full-access" in {d.code for d in plan.diagnostics}
    assert refusals(from_file(plan), sight) == []
    assert list(shown_otherwise(from_file(forge(plan)), sight))


def test_what_differs_is_named() -> None:
    sight = scene().sight()
    plan = on(0, reason="x", diff=())(make_plan(sight, Options()))
    (told,) = shown_otherwise(plan, sight)
    assert told.code == "plan-unfit"
    assert told.address == "keys.a"
    assert "its differences, its reason" in told.summary


def test_a_change_of_somebody_else_is_no_reason_to_refuse() -> None:
    made = scene()
    plan = make_plan(made.sight(), Options(targets=("keys.b",)))
    drifted = live_of(generation("a"), spec=replace(SPEC, name="by hand"))
    made.live = {"toy": (drifted, live_of(generation("b")), live_of(generation("c")))}
    assert refusals(from_file(plan), made.sight()) == []


@pytest.mark.parametrize(
    "asked", [{"rotate": ("keys.b",), "rotate_reason": "leak"}, {"targets": ("keys.b",)}]
)
def test_a_plan_that_was_asked_for_is_made_with_what_was_asked(asked: dict[str, Any]) -> None:
    sight = scene().sight()
    plan = from_file(make_plan(sight, Options(**asked)))
    assert [change.address for change in plan.changes] == ["keys.b"]
    assert refusals(plan, sight) == []
    if "rotate" in asked:
        assert list(shown_otherwise(replace(plan, options=Options(targets=("keys.b",))), sight))
        worse = replace(plan, options=replace(plan.options, rotate_now=True))
        assert list(shown_otherwise(worse, sight))


def gated(used: timedelta | None) -> Scene:
    """A key with a gate is due; it was last used so long before now."""
    live = live_of(generation("a"), last_used_at=None if used is None else NOW - used)
    return Scene((wanted("a", rotation=GATED),), (record("a"),), live={"toy": (live,)}, profile=SEEING)


@pytest.mark.parametrize("used", [None, 3 * DAY, timedelta(hours=2)])
def test_a_later_use_is_no_lie(used: timedelta | None) -> None:
    plan = from_file(make_plan(gated(used).sight(), Options()))
    (change,) = plan.changes
    assert change.action == "rotate"
    assert refusals(plan, gated(used).sight()) == []
    again = gated(timedelta(minutes=-90))
    again.now = NOW + timedelta(hours=3)
    assert refusals(plan, again.sight()) == []


@pytest.mark.parametrize("said", [None, 30 * DAY, DAY + timedelta(hours=2)])
def test_an_earlier_use_than_was_told_is_a_lie(said: timedelta | None) -> None:
    sight = gated(timedelta(hours=2)).sight()
    forged = from_file(make_plan(gated(said).sight(), Options()))
    assert list(shown_otherwise(forged, sight))


def with_credits(left: int) -> Scene:
    """Somebody gave a key credits; so many are left."""
    live = live_of(generation("a"), spec=replace(SPEC, name="a", credits=Credits(left)))
    return Scene((wanted("a"),), (record("a"),), live={"toy": (live,)})


@pytest.mark.parametrize("mode", [NORMAL, REFRESH_ONLY])
def test_spent_credits_are_no_lie(mode: str) -> None:
    plan = from_file(make_plan(with_credits(50).sight(), Options(mode)))
    assert plan.changes[0].passing.credits == 50
    assert refusals(plan, with_credits(7).sight()) == []


def test_a_key_that_had_not_expired_is_not_said_to_have() -> None:
    old = generation("a", spec=replace(SPEC, name="a", expires_at=NOW + timedelta(hours=1)))
    rotation = Rotation(before_expiry=2 * DAY, overlap=timedelta(minutes=10))
    want = wanted("a", expires_in=10 * DAY, rotation=rotation)
    known = record("a", current=old, expires_in=10 * DAY)
    made = Scene((want,), (known,), live={"toy": (live_of(old),)})
    plan = from_file(make_plan(made.sight(), Options()))
    after = later(made.sight(), False, hours=2)
    assert refusals(plan, after) == []
    hushed = from_file(make_plan(after, Options()))
    assert hushed.changes[0].passing.expired
    assert refusals(hushed, after) == []
    assert list(shown_otherwise(hushed, made.sight()))


def lost() -> Sight:
    """The secret of ``a`` is no longer in its store, and it has another owner."""
    sight = Scene((wanted("a", owner="me"),), (record("a"),)).sight()
    return replace(sight, stores=Holdings({place("a"): Found("missing")}))


def test_a_store_that_could_not_be_looked_at_then_is_not_looked_at_now() -> None:
    seen = lost()
    unseen = replace(seen, stores=Holdings(unseen={"local": warning("x", "sealed")}))
    plan = from_file(make_plan(unseen, Options()))
    assert plan.half_compared
    assert [change.action for change in plan.changes] == ["update"]
    assert refusals(plan, seen) == []
    assert list(shown_otherwise(replace(plan, diagnostics=()), seen))


def test_a_listing_that_was_half_read_then_may_be_whole_now() -> None:
    made = scene()
    made.incomplete = ("toy",)
    plan = from_file(make_plan(made.sight(), Options(targets=("keys.b",))))
    assert refusals(plan, scene().sight()) == []
