"""New keys, imports, moves, targets, what is unmanaged, guards over the whole plan, determinism."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from keyform.engine.plan import digest_of
from keyform.model import REVOKED, DesiredProject, Import, KeySpec, LiveKey, Move, Rotation
from keyform.state import ProjectRecord
from tests.engine.scene import (
    BORN,
    DAY,
    LINEAGE,
    NOW,
    PROFILE,
    SPEC,
    Scene,
    codes,
    diff,
    errors,
    generation,
    live_of,
    ops,
    place,
    record,
    step,
    wanted,
)


def test_a_new_key_shows_everything_that_it_will_be() -> None:
    change = Scene((wanted(expires_in=90 * DAY, owner="team"),)).only()
    assert (change.action, change.generation, change.key_id) == ("create", 1, None)
    assert change.backing == "contract"
    assert diff(change) == {
        "kind": (None, "secret"),
        "environment": (None, "live"),
        "name": (None, "a"),
        "scopes": (None, ["read"]),
        "expires_in": (None, "90d"),
        "secret": (None, ["local:a"]),
        "owner": (None, "team"),
    }
    assert ops(change) == ["mint"]
    assert step(change, "mint").overlap is None


# imports


def importing(live: tuple[LiveKey, ...], want: Any = None, key_id: str = "k1", **parts: Any) -> Scene:
    return Scene(
        (want or wanted(),),
        live={"toy": live},
        desired={"imports": (Import("keys.a", key_id),)},
        **parts,
    )


def test_an_import_of_what_is_as_declared() -> None:
    plan = importing((LiveKey("k1", SPEC, created_at=BORN),)).plan()
    (change,) = plan.changes
    assert (change.action, change.key_id, ops(change)) == ("import", "k1", ["adopt"])
    assert codes(plan) == ["secret-unknown"]
    assert plan.unmanaged == ()


def test_an_import_that_differs_in_place_is_adopted_and_changed() -> None:
    change = importing((LiveKey("k1", replace(SPEC, name="old"), created_at=BORN),)).only()
    assert ops(change) == ["adopt", "update"]
    assert step(change, "adopt").spec.name == "old"
    assert step(change, "update").fields == ("name",)
    assert "changed to what is declared: name" in change.reason


def test_an_import_that_differs_in_what_cannot_change_is_refused() -> None:
    plan = importing((LiveKey("k1", replace(SPEC, environment="test")),)).plan()
    assert plan.empty
    assert errors(plan) == ["import-differs"]
    assert "environment changed from test to live" in plan.diagnostics[0].summary


@pytest.mark.parametrize("live", [(), (LiveKey("k1", SPEC, status=REVOKED),)], ids=["missing", "revoked"])
def test_an_import_of_nothing_is_refused(live: Any) -> None:
    plan = importing(live).plan()
    assert plan.empty
    assert errors(plan) == ["import-missing"]


def test_an_import_missing_from_an_incomplete_listing_says_so() -> None:
    plan = importing((), incomplete=("toy",)).plan()
    assert "incomplete" in plan.diagnostics[0].detail


def test_an_import_of_a_key_that_is_another_address_is_refused() -> None:
    scene = importing((live_of(generation("b")),), key_id="id-b-1")
    scene.keys = (*scene.keys, wanted("b"))
    scene.records = (record("b"),)
    plan = scene.plan()
    assert errors(plan) == ["import-owned"]
    assert "keys.b already" in plan.diagnostics[0].summary


def test_an_import_entry_that_was_carried_out_is_stale_and_silent() -> None:
    scene = importing((live_of(generation()),), key_id="id-a-1")
    scene.records = (record(),)
    plan = scene.plan()
    assert plan.empty
    assert plan.diagnostics == ()


def test_an_import_does_not_doubt_what_the_listing_cannot_show() -> None:
    profile = replace(PROFILE, shown=PROFILE.shown - {"environment"})
    change = importing((LiveKey("k1", replace(SPEC, environment=None)),), profile=profile).only()
    assert ops(change) == ["adopt"]
    assert step(change, "adopt").spec.environment == "live"


def test_an_import_with_a_span_counts_from_birth() -> None:
    change = importing((LiveKey("k1", SPEC, created_at=BORN),), wanted(expires_in=90 * DAY)).only()
    assert step(change, "update").spec.expires_at == BORN + 90 * DAY


def test_an_import_older_than_its_span_gets_a_whole_span() -> None:
    change = importing((LiveKey("k1", SPEC, created_at=BORN),), wanted(expires_in=5 * DAY)).only()
    assert step(change, "update").spec.expires_at == NOW + 5 * DAY


def test_an_import_whose_expiry_was_not_set_after_all_is_planned_again() -> None:
    """Adopted, and then the update failed: what the state keeps must not look as if it had been done."""
    scene = importing((LiveKey("k1", SPEC, created_at=BORN),), wanted(expires_in=90 * DAY))
    adopt = step(scene.only(), "adopt")
    adopted = generation(created_at=BORN, fingerprint=None)
    adopted = replace(adopted, id="k1", spec=adopt.spec)
    scene.records = (record(current=adopted, expires_in=adopt.terms.expires_in),)
    assert step(scene.only(), "update").spec.expires_at == BORN + 90 * DAY


def test_an_import_does_not_change_the_very_credential() -> None:
    scene = importing((LiveKey("k1", replace(SPEC, name="old"), created_at=BORN),), own_key="k1")
    assert errors(scene.plan()) == ["own-credential"]


# moves


def moving(*moves: tuple[str, str], **parts: Any) -> Scene:
    return Scene(desired={"moves": tuple(Move(f"keys.{a}", f"keys.{b}") for a, b in moves)}, **parts)


def test_a_move_renames_and_touches_nothing() -> None:
    scene = moving(
        ("old", "a"),
        keys=(wanted(spec=replace(SPEC, name="old"), places=(place("old"),)),),
        records=(record("old"),),
    )
    change = scene.only()
    assert (change.address, change.action, ops(change)) == ("keys.a", "move", ["rename"])
    assert step(change, "rename").before == "keys.old"
    assert scene.plan().unchanged == 0


def test_a_move_and_an_edit_at_once_are_two_changes_of_one_address() -> None:
    scene = moving(("old", "a"), keys=(wanted(places=(place("old"),)),), records=(record("old"),))
    plan = scene.plan()
    assert [(c.address, c.action) for c in plan.changes] == [("keys.a", "move"), ("keys.a", "update")]


def test_a_move_that_was_carried_out_is_stale_and_silent() -> None:
    assert moving(("old", "a"), keys=(wanted(),), records=(record(),)).plan().empty


def test_a_move_onto_a_known_address_is_refused() -> None:
    plan = moving(("old", "a"), keys=(wanted(),), records=(record(), record("old"))).plan()
    assert errors(plan)[0] == "move-collides"


def test_a_chain_of_moves_ends_where_it_ends() -> None:
    scene = moving(("x", "y"), ("y", "a"), keys=(wanted(),), records=(record("x"),))
    assert {c.address for c in scene.plan().changes} >= {"keys.a"}
    assert "revoke" not in {c.action for c in scene.plan().changes}


def test_a_project_moves_too() -> None:
    scene = Scene(
        projects=(DesiredProject("projects.b", "toy", "web", ()),),
        project_records=(ProjectRecord("projects.a", "toy", "web", ()),),
        desired={"moves": (Move("projects.a", "projects.b"),)},
    )
    assert next((c.address, c.action) for c in scene.plan().changes) == ("projects.b", "move")


# targets


def test_targets_leave_the_rest_alone() -> None:
    scene = Scene((wanted("a"), wanted("b")), (record("c"),))
    assert [c.address for c in scene.plan(targets=("keys.b",)).changes] == ["keys.b"]
    assert [c.address for c in scene.plan(targets=("keys.c",)).changes] == ["keys.c"]


def test_a_bare_address_targets_every_instance() -> None:
    keys = tuple(replace(wanted(n), address=f'keys.a["{n}"]') for n in ("x", "y"))
    scene = Scene((*keys, wanted("ab")))
    assert len(scene.plan(targets=("keys.a",)).changes) == 2
    assert len(scene.plan(targets=('keys.a["x"]',)).changes) == 1


def test_the_project_of_a_target_comes_along() -> None:
    web, other = (DesiredProject(f"projects.{n}", "toy", n, ()) for n in ("web", "other"))
    scene = Scene((wanted(spec=replace(SPEC, project="web")),), projects=(web, other))
    assert {c.address for c in scene.plan(targets=("keys.a",)).changes} == {"projects.web", "keys.a"}


def test_of_two_services_with_a_project_of_the_same_id_the_right_one_comes_along() -> None:
    mine, theirs = (DesiredProject(f"projects.{s}", s, "web", ()) for s in ("toy", "other"))
    scene = Scene(
        (wanted(spec=replace(SPEC, project="web")),), projects=(mine, theirs), services=("toy", "other")
    )
    assert {c.address for c in scene.plan(targets=("keys.a",)).changes} == {"projects.toy", "keys.a"}


def test_what_is_wrong_elsewhere_does_not_stop_a_target() -> None:
    scene = Scene((wanted("a"),), (record("b", protect=True),))
    plan = scene.plan(targets=("keys.a",))
    assert errors(plan) == []
    assert errors(scene.plan()) == ["protected"]
    assert errors(scene.plan(targets=("keys.b",))) == ["protected"]


# unmanaged


def test_keys_of_others_are_counted_and_left_alone() -> None:
    mine = LiveKey("mine", SPEC)
    extra = (
        LiveKey("x", SPEC),
        LiveKey("y", SPEC, label="other/1"),
        LiveKey("z", SPEC, status=REVOKED),
        mine,
    )
    plan = Scene((wanted(),), (record(),), extra=extra, own_key="mine").plan()
    assert plan.empty
    assert plan.unmanaged == (("toy", 2),)
    assert plan.diagnostics == ()


def test_a_key_with_this_states_own_label_is_named() -> None:
    plan = Scene((wanted(),), (record(),), extra=(LiveKey("x", SPEC, label=f"{LINEAGE}/m"),)).plan()
    assert plan.empty
    assert codes(plan) == ["stray"]
    assert not plan.failed


# guards over the whole plan


def many(owned: int, ended: int) -> Scene:
    names = [f"k{n}" for n in range(owned)]
    return Scene(tuple(wanted(name) for name in names[ended:]), tuple(record(name) for name in names))


@pytest.mark.parametrize(
    ("owned", "ended", "refused"),
    [
        (9, 9, False),
        (10, 3, False),
        (10, 4, True),
        (11, 3, False),
        (11, 4, True),
        (20, 6, False),
        (20, 7, True),
    ],
)
def test_a_plan_that_ends_many_keys_is_refused(owned: int, ended: int, refused: bool) -> None:
    scene = many(owned, ended)
    assert errors(scene.plan()) == (["mass-change"] if refused else [])
    assert errors(scene.plan(allow_mass_change=True)) == []


def test_exactly_thirty_percent_is_allowed_whatever_the_size() -> None:
    from keyform.engine.guards import MASS_SHARE

    assert not [n for n in range(10, 20001, 10) if n * 3 // 10 > MASS_SHARE * n]


def test_replacements_count_and_overdue_old_generations_do_not() -> None:
    names = [f"k{n}" for n in range(10)]
    records = tuple(record(name) for name in names)
    fixed = tuple(wanted(n, spec=replace(SPEC, name=n, environment="test")) for n in names)
    assert errors(Scene(fixed, records).plan()) == ["mass-change"]
    records = tuple(
        record(n, current=generation(n, 2), deposed=(generation(n, 1, revoke_at=NOW),)) for n in names
    )
    assert errors(Scene(tuple(map(wanted, names)), records).plan()) == []


def test_two_keys_cannot_swap_their_places() -> None:
    keys = (wanted("a", places=(place("b"),)), wanted("b", places=(place("a"),)))
    assert errors(Scene(keys, (record("a"), record("b"))).plan()) == ["place-in-use", "place-in-use"]


def test_a_new_key_may_take_the_place_of_one_that_is_revoked() -> None:
    plan = Scene((wanted("b", places=(place("a"),)),), (record("a"),)).plan()
    assert errors(plan) == []
    assert [c.action for c in plan.changes] == ["create", "revoke"]


def test_a_new_key_may_not_take_the_place_of_one_that_is_forgotten() -> None:
    from keyform.model import Removal

    scene = Scene(
        (wanted("b", places=(place("a"),)),),
        (record("a"),),
        desired={"removals": (Removal("keys.a", False),)},
    )
    assert errors(scene.plan()) == ["place-in-use"]


def test_a_place_is_not_free_because_an_old_generation_of_its_holder_ends() -> None:
    """keys.a moves its secret away while a generation of before is revoked; keys.b may not write first."""
    holder = record("a", current=generation("a", 2), deposed=(generation("a", 1, places=(), revoke_at=NOW),))
    keys = (wanted("a", places=(place("new"),)), wanted("b", places=(place("a"),)))
    assert errors(Scene(keys, (holder,)).plan()) == ["place-in-use"]


def test_a_place_that_the_key_moves_back_to_is_not_erased_after_its_old_generation() -> None:
    old = generation("a", 1, places=(place("first"),), revoke_at=NOW)
    holder = record("a", current=generation("a", 2, places=(place("second"),)), deposed=(old,))
    plan = Scene((wanted("a", places=(place("first"),)),), (holder,)).plan()
    assert [(s.op, s.places) for c in plan.changes for s in c.steps] == [
        ("relocate", (place("first"),)),
        ("erase", (place("second"),)),
        ("revoke", ()),
    ]


def test_an_untouched_place_may_be_written_by_its_own_replacement() -> None:
    want = wanted(spec=replace(SPEC, environment="test"))
    assert errors(Scene((want,), (record(),)).plan()) == []


def test_two_keys_never_end_up_with_one_id() -> None:
    scene = Scene(
        (wanted("a"), wanted("b")),
        live={"toy": (LiveKey("k1", SPEC),)},
        desired={"imports": (Import("keys.a", "k1"),)},
    )
    adopted = [s.key_id for c in scene.plan().changes for s in c.steps if s.op == "adopt"]
    assert adopted == ["k1"]


# determinism


def test_the_same_sight_gives_the_same_plan() -> None:
    scene = Scene(
        (wanted("a", spec=KeySpec(name="n", metadata=(("x", "1"), ("y", "2")))), wanted("b"), wanted("new")),
        (record("a"), record("b", current=generation("b", created_at=NOW - 9 * DAY)), record("gone")),
        extra=(LiveKey("x", SPEC), LiveKey("z", SPEC, label=f"{LINEAGE}/m")),
    )
    scene.keys = (*scene.keys, wanted("r", rotation=Rotation(every=DAY)))
    scene.records = (*scene.records, record("r"))
    assert digest_of(scene.plan()) == digest_of(scene.plan())
    assert len({change.action for change in scene.plan().changes}) >= 4
