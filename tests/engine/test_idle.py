"""Keys that nobody uses: what a service shows of last uses, and what may be concluded from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyform.diagnostics import Diagnostic
from keyform.engine.idle import Idle, idle_keys
from keyform.engine.options import DESTROY, REFRESH_ONLY, Options
from keyform.engine.planner import make_plan
from keyform.model import DISABLED, EXPIRED, Rotation
from tests.engine.scene import (
    BORN,
    DAY,
    NOW,
    PROFILE,
    SPEC,
    Scene,
    codes,
    generation,
    live_of,
    record,
    wanted,
)

LATE = replace(PROFILE, last_used_lag=timedelta(minutes=5), title="Toy")


def scene(used: Any = None, *, profile: Any = PROFILE, **live: Any) -> Scene:
    key = live_of(generation(), last_used_at=used, **live)
    return Scene(keys=(wanted(),), records=(record(),), live={"toy": (key,)}, profile=profile)


def idle(at: Scene, after: timedelta) -> list[Idle]:
    sight = at.sight()
    return list(idle_keys(sight.state, sight.services, {"toy": after}, sight.now))


def stale(at: Scene, after: timedelta | None, **options: Any) -> list[Diagnostic]:
    sight = at.sight()
    views = {name: replace(view, stale_after=after) for name, view in sight.services.items()}
    plan = make_plan(replace(sight, services=views), Options(**options))
    return [told for told in plan.diagnostics if told.code == "stale-keys"]


@pytest.mark.parametrize(
    ("age", "lag", "found"),
    [
        (timedelta(days=7), 0, True),
        (timedelta(days=7, seconds=-1), 0, False),
        (timedelta(days=7), 5, False),
        (timedelta(days=7, minutes=5, seconds=-1), 5, False),
        (timedelta(days=7, minutes=5), 5, True),
    ],
)
def test_a_key_is_idle_when_the_span_has_certainly_passed(age: timedelta, lag: int, found: bool) -> None:
    profile = replace(PROFILE, last_used_lag=timedelta(minutes=lag))
    used = idle(scene(NOW - age, profile=profile), 7 * DAY)
    assert used == ([Idle("keys.a", "toy", "id-a-1", NOW - age, False)] if found else [])
    never = idle(scene(created_at=NOW - age, profile=profile), 7 * DAY)
    assert never == ([Idle("keys.a", "toy", "id-a-1", NOW - age, True)] if found else [])


def test_without_a_time_of_birth_the_record_counts() -> None:
    assert idle(scene(created_at=None), 10 * DAY) == [Idle("keys.a", "toy", "id-a-1", BORN, True)]
    assert idle(scene(created_at=None), 11 * DAY) == []


@pytest.mark.parametrize(
    ("proves", "minutes", "never"), [(True, 5, True), (True, 6, False), (False, 0, True), (False, 5, False)]
)
def test_keyforms_own_proof_of_a_new_key_is_no_use(proves: bool, minutes: int, never: bool) -> None:
    used = BORN + timedelta(minutes=minutes)
    (found,) = idle(scene(used, profile=replace(PROFILE, proves=proves)), 7 * DAY)
    assert found == Idle("keys.a", "toy", "id-a-1", BORN if never else used, never)


def test_what_says_nothing_of_use_or_does_not_work_is_not_idle() -> None:
    assert idle(scene(profile=replace(PROFILE, shows_last_used=False)), DAY) == []
    for status in (EXPIRED, DISABLED):
        assert idle(scene(status=status), DAY) == []
    gone = scene()
    gone.live = {"toy": ()}
    assert idle(gone, DAY) == []


def test_a_plan_says_nothing_unless_it_is_asked_to() -> None:
    assert stale(scene(), None) == []
    assert stale(scene(), 11 * DAY) == []


@pytest.mark.parametrize("mode", ["normal", REFRESH_ONLY])
def test_a_plan_names_stale_keys_in_one_warning(mode: str) -> None:
    (told,) = stale(scene(NOW - 9 * DAY, profile=LATE), 7 * DAY, mode=mode)
    assert told.severity == "warning"
    assert told.summary == (
        "toy: 1 key has not been used for 7d (`stale_after`): keys.a (last 2026-11-11T12:00:00Z)"
    )
    assert "told 5m late" in told.detail
    (never,) = stale(scene(), 7 * DAY)
    assert "keys.a (never, minted 2026-11-10T12:00:00Z)" in never.summary
    assert "late" not in never.detail


def test_many_stale_keys_are_counted_and_five_of_them_named() -> None:
    names = "abcdefg"
    many = Scene(keys=tuple(wanted(name) for name in names), records=tuple(record(name) for name in names))
    (told,) = stale(many, DAY)
    assert told.summary.startswith("toy: 7 keys have not been used")
    assert told.summary.count("keys.") == 5
    assert told.summary.endswith(" and 2 more")


def test_what_the_plan_ends_or_replaces_is_not_called_stale() -> None:
    assert stale(scene(), DAY, mode=DESTROY) == []
    replaced = scene()
    replaced.keys = (wanted(spec=replace(SPEC, kind="read")),)
    assert stale(replaced, DAY) == []
    removed = scene()
    removed.keys = ()
    assert stale(removed, DAY) == []


@pytest.mark.parametrize(("born", "lag", "held"), [(6, 0, True), (7, 0, False), (7, 1, True), (8, 1, False)])
def test_an_old_generation_that_was_never_used_waits_too(born: int, lag: int, held: bool) -> None:
    old = generation(revoke_at=NOW, created_at=NOW - born * DAY)
    current = generation(number=2, created_at=NOW - DAY)
    plan = Scene(
        (wanted(rotation=Rotation(revoke_when_unused_for=7 * DAY)),),
        (record(current=current, deposed=(old,)),),
        profile=replace(PROFILE, last_used_lag=timedelta(days=lag)),
    ).plan()
    assert codes(plan) == (["held"] if held else [])
    if held:
        assert "not used since it was minted" in plan.diagnostics[0].summary
