"""Rotations that somebody asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyform.engine.plan_file import dump_plan, load_plan
from keyform.engine.vetting import vet
from keyform.model import DISABLED, DesiredProject, Import, Rotation
from tests.engine.scene import (
    DAY,
    NOW,
    PROFILE,
    SPEC,
    Scene,
    codes,
    errors,
    generation,
    live_of,
    ops,
    place,
    record,
    wanted,
)

ASK: dict[str, Any] = {"rotate": ("keys.a",)}
NOW_ASKED = {**ASK, "rotate_now": True}


def overlapping() -> Rotation:
    return Rotation(every=60 * DAY, overlap=3 * DAY, revoke_when_unused_for=DAY)


def in_overlap() -> Scene:
    """Generation 2 is current, generation 1 is in its overlap, and both are in use."""
    old = generation(number=1, revoke_at=NOW + DAY)
    current = generation(number=2)
    live = tuple(live_of(g, last_used_at=NOW) for g in (old, current))
    want = wanted(rotation=overlapping())
    return Scene((want,), (record(current=current, deposed=(old,)),), live={"toy": live})


def test_one_that_is_not_due_is_rotated_with_its_overlap() -> None:
    scene = Scene((wanted(rotation=overlapping()),), (record(),))
    assert scene.plan().changes == ()
    change = scene.only(**ASK, rotate_reason="the laptop was lost")
    assert (change.action, ops(change)) == ("rotate", ["mint"])
    assert change.steps[0].overlap == 3 * DAY
    assert change.reason == ("asked for: the laptop was lost; id-a-1 lives on for 3d beside the new key")


def test_without_a_reason_that_is_what_is_said() -> None:
    assert Scene((wanted(),), (record(),)).only(**ASK).reason == "asked for"


def test_nothing_else_is_planned() -> None:
    scene = Scene((wanted(), wanted("b")), (record(),))
    plan = scene.plan(**ASK)
    assert [change.address for change in plan.changes] == ["keys.a"]
    assert plan.targets == ("keys.a",)


def test_what_else_is_due_is_said_too() -> None:
    want = wanted(rotation=Rotation(every=5 * DAY), spec=replace(SPEC, name="a", kind="public"))
    change = Scene((want,), (record(),)).only(**ASK)
    assert change.action == "replace"
    assert change.reason.startswith("asked for; kind changed in the configuration")
    assert "rotation is due: every 5d" in change.reason


def test_now_ends_every_old_generation_after_the_mint_used_or_not() -> None:
    change = in_overlap().only(**NOW_ASKED)
    assert [(s.op, s.key_id, s.now) for s in change.steps] == [
        ("mint", None, True),
        ("revoke", "id-a-2", False),
        ("revoke", "id-a-1", False),
    ]
    assert change.steps[0].overlap == timedelta(0)
    assert change.reason == (
        "asked for; id-a-2 and id-a-1 are revoked as soon as the new key is stored, used or not"
    )


def test_now_erases_what_was_stored_elsewhere() -> None:
    old = generation(number=1, places=(place("old"),), revoke_at=NOW + DAY)
    change = Scene((wanted(),), (record(current=generation(number=2), deposed=(old,)),)).only(**NOW_ASKED)
    assert [s.places for s in change.steps[1:]] == [(), (place("old"),)]


def test_now_and_an_overlap_that_is_over_revoke_a_key_once() -> None:
    old = generation(number=1, revoke_at=NOW - DAY)
    plan = Scene((wanted(),), (record(current=generation(number=2), deposed=(old,)),)).plan(**NOW_ASKED)
    assert [s.key_id for c in plan.changes for s in c.steps if s.op == "revoke"] == ["id-a-2", "id-a-1"]


def test_now_for_a_key_that_is_gone_ends_the_old_ones_too() -> None:
    old = generation(number=1, revoke_at=NOW + DAY)
    scene = Scene((wanted(),), (record(current=generation(number=2), deposed=(old,)),))
    change = replace(scene, live={"toy": (live_of(old),)}).only(**NOW_ASKED)
    assert (change.action, [s.key_id for s in change.steps]) == ("create", [None, "id-a-1"])


def test_protection_does_not_forbid_it() -> None:
    for options in (ASK, NOW_ASKED):
        plan = Scene((wanted(protect=True),), (record(protect=True),)).plan(**options)
        assert (errors(plan), [c.action for c in plan.changes]) == ([], ["rotate"])


def test_a_disabled_key_is_rotated_with_a_warning() -> None:
    off = live_of(generation(), status=DISABLED)
    plan = Scene((wanted(),), (record(),), live={"toy": (off,)}).plan(**{**ASK, "rotate_reason": "x"})
    assert [c.action for c in plan.changes] == ["rotate"]
    kept = Scene((wanted(rotation=overlapping()),), (record(),), live={"toy": (off,)}).plan(**ASK)
    (told,) = kept.diagnostics
    assert (told.severity, told.code) == ("warning", "disabled-key")
    assert "The new key works" in told.detail


def test_the_own_credential_is_still_refused() -> None:
    plan = Scene((wanted(),), (record(),), own_key="id-a-1").plan(**NOW_ASKED)
    assert errors(plan) == ["own-credential"]


@pytest.mark.parametrize("options", [ASK, NOW_ASKED])
def test_an_incomplete_listing_forbids_it(options: dict[str, Any]) -> None:
    scene = Scene((wanted(),), (record(),), incomplete=("toy",))
    assert errors(scene.plan(**options)) == ["incomplete-listing"]
    assert errors(replace(scene, live={"toy": ()}).plan(**options)) == ["incomplete-listing"]


@pytest.mark.parametrize(
    ("scene", "asked", "says", "hint"),
    [
        (Scene((wanted(),)), "keys.a", "declared, and not minted yet", "`keyform apply` mints it."),
        (Scene((), (record(),)), "keys.a", "no longer declared", "keyform apply` revokes it"),
        (Scene((wanted(),), (record(),)), "keys.aa", "neither declared nor in", "Did you mean `keys.a`?"),
        (
            Scene(
                (wanted(),),
                desired={"imports": (Import("keys.a", "theirs"),)},
                extra=(live_of(replace(generation(), id="theirs")),),
            ),
            "keys.a",
            "not adopted yet",
            "Adopt it first",
        ),
        (
            Scene((wanted(),), (record(),), projects=(DesiredProject("projects.p", "toy", "p", ()),)),
            "projects.p",
            "a project has no secret",
            "Name the keys",
        ),
    ],
    ids=["not minted", "not declared", "unknown", "not adopted", "a project"],
)
def test_what_cannot_be_rotated_is_refused(scene: Scene, asked: str, says: str, hint: str) -> None:
    plan = scene.plan(rotate=(asked,))
    (told,) = (d for d in plan.diagnostics if d.code == "not-rotatable")
    assert plan.failed
    assert says in told.summary
    assert hint in told.detail


def test_a_bare_address_is_all_of_a_for_each() -> None:
    keys = tuple(replace(wanted(n, places=(place(n),)), address=f'keys.r["{n}"]') for n in ("x", "y"))
    records = tuple(replace(record(n), address=f'keys.r["{n}"]') for n in ("x", "y"))
    plan = Scene(keys, records).plan(rotate=("keys.r",))
    assert [(c.address, c.action) for c in plan.changes] == [
        ('keys.r["x"]', "rotate"),
        ('keys.r["y"]', "rotate"),
    ]
    one = Scene(keys, records).plan(rotate=('keys.r["y"]',))
    assert [c.address for c in one.changes] == ['keys.r["y"]']


def test_what_cannot_be_revoked_at_all_is_not_ended_early() -> None:
    """A service that ends its old keys by itself, as RevKeen does its cart keys."""
    profile = replace(PROFILE, one_per_kind=True, overlap_step=DAY / 24, operations={"reroll": "documented"})
    current = generation(number=1)
    change = Scene((wanted(),), (record(),), live={"toy": (live_of(current),)}, profile=profile).only(
        **NOW_ASKED
    )
    assert [(s.op, s.overlap) for s in change.steps] == [("mint", DAY / 24)]
    assert change.reason == (
        "asked for; id-a-1 lives on for 1h beside the new key, the least that Toy can be asked for"
    )


def test_a_saved_plan_of_it_is_one_that_planning_could_make() -> None:
    for options in (ASK, NOW_ASKED):
        scene = in_overlap()
        plan = load_plan(dump_plan(scene.plan(**options)), "p")
        assert list(vet(plan, scene.sight(), None)) == []


def test_a_plan_that_ends_an_old_generation_early_without_saying_now_is_refused() -> None:
    scene = in_overlap()
    plan = scene.plan(**NOW_ASKED)
    (change,) = plan.changes
    quiet = replace(change, steps=(replace(change.steps[0], now=False), *change.steps[1:]))
    told = list(vet(replace(plan, changes=(quiet,)), scene.sight(), None))
    assert {d.code for d in told} == {"plan-unfit"}
    assert codes(plan) == []


def test_only_services_that_it_is_about_are_told_of() -> None:
    there = record("b", current=generation("b", service="other"))
    it = Scene(
        (wanted(), wanted("b", "other")),
        (record(), there),
        profile=replace(PROFILE, lists=False),
        services=("toy", "other"),
    )

    def unseen(**options: Any) -> list[str]:
        plan = it.plan(**options)
        return [d.summary.partition(":")[0] for d in plan.diagnostics if d.code == "no-listing"]

    assert unseen() == ["toy, other"]
    assert unseen(**ASK) == ["toy"]
    assert unseen(targets=("keys.b",)) == ["other"]
