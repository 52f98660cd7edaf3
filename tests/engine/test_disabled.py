"""A key that somebody disabled at its service is neither gone nor free of risk."""

from __future__ import annotations

from dataclasses import replace

from keyform.engine.options import DESTROY, REFRESH_ONLY
from keyform.engine.plan import END, REVOKE, UPDATE
from keyform.model import DISABLED, Rotation
from tests.engine.scene import (
    BORN,
    DAY,
    LINEAGE,
    SPEC,
    Scene,
    codes,
    generation,
    live_of,
    ops,
    record,
    wanted,
)

OFF = live_of(generation(), status=DISABLED)


def test_it_is_told_and_nothing_is_minted_in_its_place() -> None:
    plan = Scene(keys=(wanted(),), records=(record(),), live={"toy": (OFF,)}).plan()
    assert plan.changes == ()
    (told,) = plan.diagnostics
    assert (told.severity, told.code, told.address) == ("warning", "disabled-key", "keys.a")
    assert "id-a-1 is disabled at toy" in told.summary
    assert "can be enabled again" in told.summary


def test_refresh_only_tells_it_too() -> None:
    plan = Scene(keys=(wanted(),), records=(record(),), live={"toy": (OFF,)}).plan(mode=REFRESH_ONLY)
    assert codes(plan) == ["disabled-key"]


def test_it_is_not_rotated_by_itself() -> None:
    due = wanted(rotation=Rotation(every=5 * DAY))
    assert Scene(keys=(due,), records=(record(),), live={"toy": (OFF,)}).plan().changes == ()
    on = Scene(keys=(due,), records=(record(),))
    assert len(on.plan().changes) == 1


def test_it_is_changed_in_place_as_any_other() -> None:
    want = wanted(spec=replace(SPEC, scopes=("read", "write")))
    plan = Scene(keys=(want,), records=(record(),), live={"toy": (OFF,)}).plan()
    assert [change.action for change in plan.changes] == [UPDATE]
    assert codes(plan) == ["disabled-key"]


def test_no_longer_declared_it_is_revoked_and_not_forgotten() -> None:
    for options in ({}, {"mode": DESTROY}):
        plan = Scene(records=(record(),), live={"toy": (OFF,)}).plan(**options)
        (change,) = plan.changes
        assert (change.action, ops(change)) == (REVOKE, [END])
        assert codes(plan) == []


def test_an_old_generation_that_is_disabled_is_revoked_at_the_end_of_its_overlap() -> None:
    old = generation(revoke_at=BORN + DAY)
    new = generation(number=2)
    live = (live_of(new), live_of(old, status=DISABLED))
    plan = Scene(keys=(wanted(),), records=(record(current=new, deposed=(old,)),), live={"toy": live}).plan()
    (change,) = plan.changes
    assert (change.action, change.key_id) == (REVOKE, "id-a-1")


def test_a_disabled_key_with_this_states_label_is_a_stray() -> None:
    stray = live_of(generation("b"), status=DISABLED, label=f"{LINEAGE}/m-b-1")
    plan = Scene(keys=(wanted(),), records=(record(),), extra=(stray,)).plan()
    assert codes(plan) == ["stray"]
    assert plan.unmanaged == ()


def test_a_key_that_was_disabled_after_the_plan_no_longer_looks_as_the_plan_saw_it() -> None:
    want = wanted(spec=replace(SPEC, scopes=("read", "write")))
    scene = Scene(keys=(want,), records=(record(),))
    off = replace(scene, live={"toy": (OFF,)})
    assert scene.only().seen != off.plan().changes[0].seen
