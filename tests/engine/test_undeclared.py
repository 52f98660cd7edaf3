"""Keys no longer declared, deposed generations, destroy, refresh-only, projects."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyform.ended import Ended
from keyform.model import REVOKED, DesiredProject, LiveProject, Removal, Rotation
from keyform.state import ProjectRecord
from tests.engine.scene import (
    DAY,
    LINEAGE,
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
    step,
    wanted,
)

# no longer declared


def test_a_key_no_longer_declared_is_revoked_and_its_value_erased() -> None:
    change = Scene((), (record(),)).only()
    assert (change.action, change.reason, ops(change)) == ("revoke", "no longer declared", ["revoke"])
    assert step(change, "revoke").places == (place("a"),)


def test_all_its_generations_go_the_current_one_last() -> None:
    old = generation(number=1, places=(place("old"),), revoke_at=NOW + DAY)
    change = Scene((), (record(current=generation(number=2), deposed=(old,)),)).only()
    assert [(s.op, s.key_id, s.places) for s in change.steps] == [
        ("revoke", "id-a-1", (place("old"),)),
        ("revoke", "id-a-2", (place("a"),)),
    ]


def test_a_place_is_erased_with_the_newest_generation_that_wrote_it() -> None:
    shared = (place("old"),)
    deposed = tuple(generation(number=n, places=shared, revoke_at=NOW + n * DAY) for n in (1, 2))
    change = Scene((), (record(current=generation(number=3), deposed=deposed),)).only()
    assert [s.places for s in change.steps] == [(), shared, (place("a"),)]


@pytest.mark.parametrize("live", [(), (live_of(generation(), status=REVOKED),)], ids=["deleted", "revoked"])
def test_one_that_is_gone_is_forgotten_and_its_value_erased(live: Any) -> None:
    change = Scene((), (record(),), live={"toy": live}).only()
    assert (change.action, change.drift, ops(change)) == ("forget", True, ["forget"])
    assert step(change, "forget").places == (place("a"),)
    assert (step(change, "forget").service, step(change, "forget").key_id) == ("toy", "id-a-1")


def test_one_that_is_gone_with_an_old_generation_still_there() -> None:
    old = generation(number=1, revoke_at=NOW + DAY)
    current = generation(number=2)
    scene = Scene((), (record(current=current, deposed=(old,)),), live={"toy": (live_of(old),)})
    change = scene.only()
    assert change.action == "revoke"
    assert [s.key_id for s in change.steps] == ["id-a-1", "id-a-2"]


def test_removed_without_revoking_leaves_key_and_value() -> None:
    scene = Scene((), (record(),), desired={"removals": (Removal("keys.a", revoke=False),)})
    change = scene.only()
    assert (change.action, ops(change)) == ("forget", ["forget"])
    assert "lives on at toy" in change.reason
    assert step(change, "forget").places == ()


def test_forgetting_names_every_generation_that_lives_on() -> None:
    old = tuple(generation(number=number, revoke_at=NOW + DAY) for number in (1, 2))
    removal = Removal("keys.a", revoke=False)
    change = Scene(
        (), (record(current=generation(number=3), deposed=old),), desired={"removals": (removal,)}
    ).only()
    assert change.reason.endswith(
        "id-a-3 lives on at toy, and its old id-a-1 (generation 1), id-a-2 (generation 2) beside it: no "
        "overlap or gate ends what is forgotten"
    )


def test_removed_with_revoking_is_a_revocation() -> None:
    scene = Scene((), (record(),), desired={"removals": (Removal("keys.a", revoke=True),)})
    assert scene.only().action == "revoke"


def test_removed_names_all_of_a_for_each_by_the_bare_address() -> None:
    records = tuple(replace(record(n), address=f'keys.a["{n}"]') for n in ("x", "y"))
    scene = Scene((), records, desired={"removals": (Removal("keys.a", revoke=False),)})
    assert [c.action for c in scene.plan().changes] == ["forget", "forget"]


def test_a_protected_one_is_not_revoked() -> None:
    assert errors(Scene((), (record(protect=True),)).plan()) == ["protected"]


def test_a_protected_one_may_be_forgotten() -> None:
    scene = Scene((), (record(protect=True),), desired={"removals": (Removal("keys.a", revoke=False),)})
    assert scene.only().action == "forget"


def test_one_whose_service_is_no_longer_declared_is_refused() -> None:
    plan = Scene((), (record(),), services=()).plan()
    assert errors(plan) == ["service-not-declared"]
    assert "removed: [{key: a, revoke: false}]" in plan.diagnostics[0].detail


def test_one_with_an_old_generation_at_a_service_no_longer_declared_is_refused() -> None:
    old = generation(number=1, service="old", revoke_at=NOW + DAY)
    plan = Scene((), (record(current=generation(number=2), deposed=(old,)),)).plan()
    assert errors(plan) == ["service-not-declared"]


@pytest.mark.parametrize("shown", [True, False])
def test_nothing_is_revoked_on_an_incomplete_listing(shown: bool) -> None:
    live = (live_of(generation()),) if shown else ()
    plan = Scene((), (record(),), live={"toy": live}, incomplete=("toy",)).plan()
    assert errors(plan) == ["incomplete-listing"]


def test_the_very_credential_is_not_revoked() -> None:
    assert errors(Scene((), (record(),), own_key="id-a-1").plan()) == ["own-credential"]


def test_the_very_credential_is_not_revoked_as_an_old_generation_either() -> None:
    old = generation(number=1, revoke_at=NOW + DAY)
    scene = Scene((), (record(current=generation(number=2), deposed=(old,)),), own_key="id-a-1")
    assert errors(scene.plan()) == ["own-credential"]


# deposed generations


def overlapping(revoke_at: Any, *, used: Any = None, gate: Any = None, **parts: Any) -> Scene:
    old = generation(number=1, revoke_at=revoke_at)
    current = generation(number=2, created_at=NOW - DAY)
    live = (live_of(old, last_used_at=used), live_of(current))
    want = wanted(rotation=Rotation(overlap=3 * DAY, revoke_when_unused_for=gate))
    return Scene((want,), (record(current=current, deposed=(old,)),), live={"toy": live}, **parts)


def test_an_overlap_that_is_not_over_holds() -> None:
    assert overlapping(NOW + timedelta(seconds=1)).plan().empty


def test_an_overlap_that_is_over_ends_the_old_key_only() -> None:
    change = overlapping(NOW).only()
    assert (change.action, change.generation, change.key_id) == ("revoke", 1, "id-a-1")
    assert "the overlap of generation 1 ended 2026-11-20T12:00:00Z" in change.reason
    # The current key's secret is in that place.
    assert step(change, "revoke").places == ()


def test_the_value_of_an_old_key_in_a_place_of_its_own_is_erased() -> None:
    scene = overlapping(NOW)
    (one,) = scene.records
    scene.records = (replace(one, deposed=(replace(one.deposed[0], places=(place("old"),)),)),)
    assert step(scene.only(), "revoke").places == (place("old"),)


@pytest.mark.parametrize(
    ("unused_for", "lag", "held"),
    [(0, 0, True), (6, 0, True), (7, 0, False), (7, 1, True), (8, 1, False)],
)
def test_an_old_key_in_use_is_held(unused_for: int, lag: int, held: bool) -> None:
    profile = replace(PROFILE, last_used_lag=timedelta(days=lag))
    plan = overlapping(NOW, used=NOW - unused_for * DAY, gate=7 * DAY, profile=profile).plan()
    assert codes(plan) == (["held"] if held else [])
    assert [c.action for c in plan.changes] == ([] if held else ["revoke"])
    assert not plan.failed


def test_an_old_key_that_was_never_used_is_not_held() -> None:
    assert overlapping(NOW, gate=7 * DAY).only().action == "revoke"


def test_an_old_key_that_is_gone_already_leaves_the_state() -> None:
    scene = overlapping(NOW)
    scene.live = {"toy": (live_of(scene.records[0].current),)}
    assert scene.only().action == "revoke"


def across_services(**parts: Any) -> Scene:
    """The old generation is at the service that the key was declared at before."""
    old = generation(number=1, service="old", revoke_at=NOW)
    current = generation(number=2)
    want = wanted(rotation=Rotation(revoke_when_unused_for=7 * DAY))
    known = {"services": ("toy", "old"), **parts}
    return Scene((want,), (record(current=current, deposed=(old,)),), **known)


def test_an_old_key_at_another_service_is_looked_for_there() -> None:
    from keyform.engine.sight import seen_digest

    scene = across_services()
    change = scene.only()
    assert change.seen == seen_digest(live_of(scene.records[0].deposed[0]))


def test_an_old_key_in_use_at_another_service_is_held() -> None:
    scene = across_services()
    old = scene.records[0].deposed[0]
    scene.live = {"toy": (live_of(scene.records[0].current),), "old": (live_of(old, last_used_at=NOW - DAY),)}
    assert codes(scene.plan()) == ["held"]


def test_an_old_key_at_a_service_no_longer_declared_is_told() -> None:
    plan = across_services(services=("toy",)).plan()
    assert plan.empty
    assert errors(plan) == ["service-not-declared"]


def test_an_old_key_at_a_service_that_cannot_be_read_whole_stays() -> None:
    assert errors(across_services(incomplete=("old",)).plan()) == ["incomplete-listing"]


# destroy


def test_destroy_revokes_everything_and_keeps_projects() -> None:
    scene = Scene(
        (wanted("a"), wanted("b")),
        (record("a"), record("b")),
        project_records=(ProjectRecord("projects.web", "toy", "web", ()),),
    )
    plan = scene.plan(mode="destroy")
    assert [(c.address, c.action) for c in plan.changes] == [
        ("projects.web", "forget"), ("keys.a", "revoke"), ("keys.b", "revoke"),
    ]  # fmt: skip
    assert errors(plan) == []


@pytest.mark.parametrize("allowed", [True, False])
def test_destroy_of_many_keys_is_a_mass_change(allowed: bool) -> None:
    scene = Scene((), tuple(record(f"k{n}") for n in range(20)))
    assert errors(scene.plan(mode="destroy", allow_mass_change=allowed)) == (
        [] if allowed else ["mass-change"]
    )


@pytest.mark.parametrize(("declared", "recorded"), [(True, True), (True, False), (False, True)])
def test_destroy_spares_what_is_protected_in_the_configuration_or_the_state(
    declared: bool, recorded: bool
) -> None:
    plan = Scene((wanted(protect=declared),), (record(protect=recorded),)).plan(mode="destroy")
    assert errors(plan) == ["protected"]


# refresh-only


def test_refresh_only_takes_note_of_drift() -> None:
    drifted = live_of(generation(), spec=replace(SPEC, scopes=("read", "write")))
    want = wanted(spec=replace(SPEC, name="would be an update"))
    change = Scene((want,), (record(),), live={"toy": (drifted,)}).only(mode="refresh-only")
    assert (change.action, ops(change), change.drift) == ("refresh", ["record"], True)
    assert change.reason == "scopes changed at toy outside keyform"
    assert step(change, "record").spec == drifted.spec


def test_refresh_only_without_drift_is_empty() -> None:
    plan = Scene((wanted("b"),), (record(),)).plan(mode="refresh-only")
    assert plan.empty
    assert plan.unchanged == 1


@pytest.mark.parametrize(("declared", "then"), [(True, "mints the key again"), (False, "forgets it")])
def test_refresh_only_tells_what_is_gone_and_drops_nothing(declared: bool, then: str) -> None:
    scene = Scene((wanted(),) if declared else (), (record(),), live={"toy": ()})
    plan = scene.plan(mode="refresh-only")
    assert plan.empty
    (told,) = plan.diagnostics
    assert (told.code, told.severity) == ("gone", "note")
    assert then in told.detail


def test_refresh_only_does_not_forget_old_generations_that_live() -> None:
    old = generation(number=1, revoke_at=NOW + DAY)
    scene = Scene(
        (wanted(),), (record(current=generation(number=2), deposed=(old,)),), live={"toy": (live_of(old),)}
    )
    plan = scene.plan(mode="refresh-only")
    assert plan.empty
    assert codes(plan) == ["gone"]


def test_a_refreshed_expiry_does_not_hide_that_it_is_not_the_declared_one() -> None:
    """Somebody took the expiry away, and a refresh recorded that: the next plan must still put it right."""
    current = generation(spec=replace(SPEC, expires_at=NOW + 80 * DAY))
    bare = live_of(current, spec=SPEC)
    scene = Scene(
        (wanted(expires_in=90 * DAY),), (record(current=current, expires_in=90 * DAY),), live={"toy": (bare,)}
    )
    noted = step(scene.only(mode="refresh-only"), "record")
    assert noted.terms is not None
    refreshed = replace(
        scene.records[0], current=replace(current, spec=noted.spec), expires_in=noted.terms.expires_in
    )
    scene.records = (refreshed,)
    assert step(scene.only(), "update").spec.expires_at == current.created_at + 90 * DAY


def test_refresh_only_leaves_what_an_incomplete_listing_does_not_show() -> None:
    scene = Scene((wanted(),), (record(),), live={"toy": ()}, incomplete=("toy",))
    assert scene.plan(mode="refresh-only").empty


def test_refresh_only_of_projects() -> None:
    known = ProjectRecord("projects.web", "toy", "web", ("https://a.example",))
    moved = LiveProject("web", ("https://b.example",))
    change = Scene(project_records=(known,), live_projects=(moved,)).only(mode="refresh-only")
    assert (change.action, step(change, "record").origins) == ("refresh", ("https://b.example",))
    change = Scene(project_records=(known,)).only(mode="refresh-only")
    assert (change.action, ops(change)) == ("forget", ["forget_project"])
    assert Scene(project_records=(known,), incomplete=("toy",)).plan(mode="refresh-only").empty


# projects

WEB = DesiredProject("projects.web", "toy", "web", ("https://a.example", "https://b.example"))


def test_a_project_that_is_not_there_is_created() -> None:
    change = Scene(projects=(WEB,)).only()
    assert (change.action, ops(change)) == ("create", ["set_origins"])
    assert step(change, "set_origins").origins == WEB.allowed_origins


def test_a_project_with_other_origins_says_who_loses_access() -> None:
    known = ProjectRecord("projects.web", "toy", "web", ("https://c.example",))
    change = Scene(
        projects=(WEB,), project_records=(known,), live_projects=(LiveProject("web", known.allowed_origins),)
    ).only()
    assert (change.action, change.drift) == ("update", False)
    assert "[https://c.example] may no longer use its keys" in change.reason
    assert "[https://a.example, https://b.example] may use its keys from now on" in change.reason


def test_a_project_changed_at_the_service_is_drift() -> None:
    known = ProjectRecord("projects.web", "toy", "web", WEB.allowed_origins)
    live = LiveProject("web", (*WEB.allowed_origins, "https://evil.example"))
    change = Scene(projects=(WEB,), project_records=(known,), live_projects=(live,)).only()
    assert change.drift
    assert "changed at toy outside keyform" in change.reason


def test_a_project_as_declared_is_taken_under_management_once() -> None:
    live = LiveProject("web", WEB.allowed_origins)
    change = Scene(projects=(WEB,), live_projects=(live,)).only()
    assert (change.action, change.diff) == ("update", ())
    known = ProjectRecord("projects.web", "toy", "web", WEB.allowed_origins)
    assert Scene(projects=(WEB,), project_records=(known,), live_projects=(live,)).plan().empty


def test_a_project_missing_from_an_incomplete_listing_is_left_alone() -> None:
    assert Scene(projects=(WEB,), incomplete=("toy",)).plan().empty


def test_a_project_no_longer_declared_is_never_deleted() -> None:
    known = ProjectRecord("projects.web", "toy", "web", ())
    change = Scene(project_records=(known,), live_projects=(LiveProject("web", ()),)).only()
    assert (change.action, ops(change)) == ("forget", ["forget_project"])


def without_origins_call(project: DesiredProject) -> Scene:
    operations = {name: how for name, how in PROFILE.operations.items() if name != "set_origins"}
    return Scene(projects=(project,), profile=replace(PROFILE, operations=operations))


def test_a_project_whose_service_sets_no_origins_is_a_name_and_nothing_more() -> None:
    plan = without_origins_call(DesiredProject("projects.web", "toy", "web", ())).plan()
    assert plan.empty
    assert codes(plan) == []


def test_origins_that_cannot_be_set_are_an_error() -> None:
    project = DesiredProject("projects.web", "toy", "web", ("https://a.example",))
    plan = without_origins_call(project).plan()
    assert errors(plan) == ["origins-unsettable"]
    assert plan.changes == ()


@pytest.mark.parametrize("lag", ["list_lag", "revocation_lag"])
def test_a_revoked_key_that_is_still_listed_is_revoked_again_once_a_listing_could_tell(lag: str) -> None:
    one = Ended("keys.b", "toy", "here", "id-b-1", 1, NOW - timedelta(minutes=4))
    scene = Scene(
        extra=(live_of(generation("b"), label=f"{LINEAGE}/m-b-1"),),
        profile=replace(PROFILE, **{lag: timedelta(minutes=5)}),
        state={"ended": (one,)},
    )
    assert scene.plan().empty
    assert codes(scene.plan()) == []
    scene.now += timedelta(minutes=1)
    change = scene.only()
    assert (change.address, change.action, change.key_id, ops(change)) == (
        "keys.b", "revoke", "id-b-1", ["revoke"],
    )  # fmt: skip
    scene.state = {"ended": (replace(one, where="elsewhere"),)}
    assert scene.plan().empty
