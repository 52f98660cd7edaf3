"""What has vanished, is protected, or is no longer stored; and what a plan tells beside its changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from keyform.model import DesiredProject, Import, LiveKey, LiveProject, Rotation
from keyform.state import ProjectRecord
from keyform.terms import Terms
from tests.engine.scene import (
    DAY,
    LINEAGE,
    SPEC,
    Scene,
    codes,
    diff,
    errors,
    generation,
    ops,
    place,
    record,
    step,
    wanted,
)


def vanished(count: int, **parts: Any) -> Scene:
    names = [f"k{n}" for n in range(count)]
    return Scene(tuple(wanted(n, **parts) for n in names), tuple(map(record, names)), live={"toy": ()})


def test_minting_many_vanished_keys_again_is_a_mass_change() -> None:
    assert errors(vanished(12).plan()) == ["mass-change"]
    assert errors(vanished(12).plan(allow_mass_change=True)) == []
    assert errors(vanished(3).plan()) == []


def test_a_protected_key_that_has_vanished_is_an_error() -> None:
    plan = vanished(1, protect=True).plan()
    assert errors(plan) == ["protected"]
    assert "protect: false" in plan.diagnostics[0].detail
    unprotected = Scene((wanted(),), (record(protect=True),), live={"toy": ()})
    assert unprotected.only().action == "create"


def test_a_vanished_key_whose_secret_was_elsewhere_is_known_until_that_is_erased() -> None:
    change = Scene((wanted(places=(place("new"),)),), (record(),), live={"toy": ()}).only()
    assert ops(change) == ["mint", "revoke"]
    assert not step(change, "mint").gone
    assert step(change, "revoke").places == (place("a"),)


@pytest.mark.parametrize("declared", [True, False])
def test_a_key_that_the_state_protects_is_not_replaced(declared: bool) -> None:
    want = wanted(spec=replace(SPEC, name="a", environment="test"), protect=declared)
    assert errors(Scene((want,), (record(protect=True),)).plan()) == ["protected"]


def test_lifting_the_protection_is_a_change_of_its_own() -> None:
    change = Scene((wanted(),), (record(protect=True),)).only()
    assert (change.action, ops(change)) == ("update", ["record"])


def test_a_key_whose_place_another_has_taken_gets_a_new_generation() -> None:
    scene = Scene(
        (wanted(),),
        (record(current=generation(places=())), record("b", current=generation("b", places=(place("a"),)))),
    )
    (rotated, _) = scene.plan().changes
    assert (rotated.address, rotated.action) == ("keys.a", "rotate")
    assert "its secret is no longer stored: keys.b has taken its place" in rotated.reason
    assert errors(scene.plan()) == []


def test_rotation_is_shown_and_recorded() -> None:
    want = wanted(rotation=Rotation(every=60 * DAY, overlap=3 * DAY))
    created = Scene((want,)).only()
    assert diff(created)["rotation.every"] == (None, "60d")
    assert diff(created)["rotation.overlap"] == (None, "3d")
    before = record(rotation=Rotation(every=90 * DAY, overlap=3 * DAY))
    changed = Scene((want,), (before,)).only()
    assert (changed.action, ops(changed)) == ("update", ["record"])
    assert diff(changed) == {"rotation.every": ("90d", "60d")}
    assert "rotation.every changed from 90d to 60d (kept by keyform; no call)" in changed.reason
    assert step(changed, "record").terms == Terms(rotation=want.rotation)


def test_the_counts_add_up() -> None:
    names = [f"k{n}" for n in range(4)]
    web = DesiredProject("projects.web", "toy", "web", ())
    scene = Scene(
        (wanted("k0", owner="x"), *map(wanted, names[1:])),
        tuple(map(record, names)),
        projects=(web,),
        project_records=(ProjectRecord("projects.web", "toy", "web", ()),),
        live_projects=(LiveProject("web", ()),),
    )
    assert (scene.plan().summary["update"], scene.plan().unchanged) == (1, 4)
    assert scene.plan(targets=("keys.k1",)).unchanged == 1


def test_keys_of_open_intents_are_no_strays() -> None:
    mine = LiveKey("k9", SPEC, label=f"{LINEAGE}/marker")
    assert codes(Scene(extra=(mine,)).plan()) == ["stray"]
    for pending in (f"{LINEAGE}/marker", "k9"):
        plan = Scene(extra=(mine,), pending=frozenset({pending})).plan()
        assert (codes(plan), plan.unmanaged) == ([], ())


@pytest.mark.parametrize(("label", "told"), [("other/m", True), (f"{LINEAGE}/m", False), (None, False)])
def test_importing_the_key_of_another_state_is_told(label: str | None, told: bool) -> None:
    plan = Scene(
        (wanted(),),
        extra=(LiveKey("k9", replace(SPEC, name="a"), label=label),),
        desired={"imports": (Import("keys.a", "k9"),)},
    ).plan()
    assert ("other-state" in codes(plan)) == told
